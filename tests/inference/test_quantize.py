"""ONNX files of 8-bit integers: smaller, and nearly the same outputs."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dilax
from dilax import models
from dilax.inference import ExportError, export, quantize
from tests.inference.test_fold_networks import randomise
from tests.random_arrays import draw

pytestmark = [
    pytest.mark.usefixtures("module_compiles_quickly"),
    pytest.mark.filterwarnings("ignore"),  # of the quantiser
]


@pytest.fixture(scope="module")
def runtime():
    pytest.importorskip("jax2onnx", reason="the extra interop is not installed")
    return pytest.importorskip("onnxruntime", reason="the extra interop is not installed")


@pytest.fixture(scope="module")
def exported(runtime, tmp_path_factory, module_compiles_quickly):
    """``mnist_dsdc`` in float32, and its file."""
    network = randomise(models.create("mnist_dsdc", rngs=nnx.Rngs(0)))
    path = tmp_path_factory.mktemp("float32") / "network.onnx"
    export(network, path, ("batch", 28, 28, 1))
    return network, path


def run(runtime, path, images):
    session = runtime.InferenceSession(str(path))
    return session.run(None, {session.get_inputs()[0].name: np.asarray(images)})[0]


def test_outputs_are_nearly_the_same_and_the_file_is_smaller(runtime, exported, tmp_path):
    import onnx

    network, source = exported
    target = tmp_path / "int8.onnx"
    quantize(source, target, (draw(8, 28, 28, 1) for _ in range(4)))
    images = draw(16, 28, 28, 1)
    found, expected = run(runtime, target, images), np.asarray(network(images))
    assert 0 < np.abs(found - expected).max() < 0.15 * np.abs(expected).max()
    assert run(runtime, target, images[:3]).shape == (3, 10)
    assert target.stat().st_size < 0.75 * source.stat().st_size
    operations = {node.op_type for node in onnx.load(str(target)).graph.node}
    assert not operations & {"Conv", "MatMul", "Gemm", "Add", "Relu"}  # all of them of integers


def test_rectifiers_are_kept(runtime, tmp_path):
    """Also after a transposition, after a pool, and where something else reads their input."""
    random = np.random.default_rng(0)  # of its own: rounding depends on what is drawn

    def draw(*shape):
        return random.uniform(-1, 1, shape).astype(np.float32)

    first, second, last = draw(3, 3, 4, 4), draw(3, 3, 4, 4), draw(4, 5)

    def layers(x):
        y = dilax.conv(x, first)
        z = jax.nn.relu(y + dilax.conv(jax.nn.relu(y), second))
        pooled = jax.nn.relu(nnx.max_pool(y, (2, 2), (2, 2))).mean((1, 2))
        features = (z.mean((1, 2)) + pooled) @ last
        return features - jnp.var(features, axis=-1, keepdims=True)

    source, target = tmp_path / "float32.onnx", tmp_path / "int8.onnx"
    export(layers, source, ("batch", 8, 8, 4))
    quantize(source, target, [draw(8, 8, 8, 4)] * 2)
    images = draw(4, 8, 8, 4)
    found, expected = run(runtime, target, images), np.asarray(layers(images))
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_kernels_are_8_bit_integers_with_a_scale_for_each_feature(runtime, tmp_path):
    import onnx

    kernel = draw(3, 3, 1, 64) * np.logspace(-3, 0, 64, dtype=np.float32).reshape(1, 1, 1, 64)
    dense = draw(1, 1, 64, 256)

    def layers(x):
        y = dilax.depthwise_conv(x, kernel, kernel_dilation=2)
        return dilax.conv(y, dense)

    source, target = tmp_path / "float32.onnx", tmp_path / "int8.onnx"
    export(layers, source, (2, 12, 12, 64))
    quantize(source, target, [draw(2, 12, 12, 64)])
    assert target.stat().st_size < 0.5 * source.stat().st_size
    arrays = {array.name: onnx.numpy_helper.to_array(array) for array in _arrays(target)}
    kernels = [array for array in arrays.values() if array.dtype == np.int8 and array.ndim == 4]
    assert sorted(array.size for array in kernels) == [9 * 64, 64 * 256]
    scales = [array.size for name, array in arrays.items() if name.endswith("_scale")]
    assert {64, 256} <= set(scales)


def _arrays(path):
    import onnx

    return onnx.load(str(path)).graph.initializer


def test_wrong_arguments(runtime, exported, tmp_path):
    _, source = exported
    target = tmp_path / "int8.onnx"
    with pytest.raises(ExportError, match=r"target must end in .onnx, got 'int8.tflite'"):
        quantize(source, tmp_path / "int8.tflite", [])
    with pytest.raises(FileNotFoundError, match="source must be a file, got"):
        quantize(tmp_path / "nothing.onnx", target, [])
    with pytest.raises(ValueError, match="batches must hold at least one array, got none"):
        quantize(source, target, [])
    with pytest.raises(ExportError, match="cannot be quantised"):
        quantize(source, target, [draw(2, 28, 28, 3)])
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(source.read_bytes()[:1000])
    with pytest.raises(ExportError, match="cannot be quantised"):
        quantize(damaged, target, [draw(2, 28, 28, 1)])
    assert not target.exists()


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r'pip install "dilax-jax\[interop\]"'):
        quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", [])
