"""Functions in files: read back by JAX alone and by ONNX Runtime, with the same outputs."""

import collections
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import dilax
from dilax import models
from dilax.inference import ExportError, export, load_exported
from dilax.models._registry import MODELS
from tests.inference.test_fold import close
from tests.inference.test_fold_networks import randomise
from tests.random_arrays import draw

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

KERNEL, FACTOR = draw(3, 3, 1, 8), draw(1, 1, 1, 8)


def layer(x):
    """Depthwise, dilated, and scaled."""
    return dilax.depthwise_conv(x, KERNEL, kernel_dilation=2) * FACTOR + 0.5


def network(name):
    return randomise(models.create(name, rngs=nnx.Rngs(0)))


def images_of(name, count=2):
    grey = name.startswith("mnist") or issubclass(MODELS[name], models.Segmenter)
    side, channels = (28, 1) if grey else (32, 3)
    return draw(count, side, side, channels)


def marked(name):
    often = name in ("mnist_dsdc", "keras_dilated")
    return name if often else pytest.param(name, marks=pytest.mark.long)


NAMES = [
    marked(name)
    for name, kind in MODELS.items()
    if name != "vgg16_dilated" and issubclass(kind, models.Classifier | models.Segmenter)
]


# --- StableHLO ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_network_for_any_number_of_images(name, tmp_path):
    model, path = network(name), tmp_path / "network.stablehlo"
    images = images_of(name, 5)
    export(model, path, ("batch", *images.shape[1:]))
    exported = jax.jit(load_exported(path))
    for some in (images, images[:1]):
        close(exported(some), model(some), 1e-4)


def test_images_of_any_size(tmp_path):
    model, path = network("mnist_dsdc"), tmp_path / "network.stablehlo"
    shape, constraints = ("batch", "height", "width", 1), ("height >= 8", "width >= 8")
    with pytest.raises(ExportError, match="or a constraint such as 'height >= 8'"):
        export(model, path, shape)
    export(model, path, shape, constraints=constraints)
    for shape in ((2, 28, 28, 1), (1, 40, 33, 1)):
        images = draw(*shape)
        close(load_exported(path)(images), model(images), 1e-4)


def test_jax_alone_reads_the_file(tmp_path):
    x, path = draw(2, 8, 8, 8), tmp_path / "layer.stablehlo"
    export(layer, path, ("batch", 8, 8, 8))
    np.save(tmp_path / "x.npy", x)
    code = f"""
import sys
import jax.export, numpy as np
exported = jax.export.deserialize(bytearray(open({str(path)!r}, "rb").read()))
np.save({str(tmp_path / "y.npy")!r}, exported.call(np.load({str(tmp_path / "x.npy")!r})))
assert not any(name.split(".")[0] in ("dilax", "flax") for name in sys.modules)
assert set(exported.platforms) == {{"cpu", "cuda", "tpu"}}
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    close(np.load(tmp_path / "y.npy"), layer(x))


def test_several_arguments_and_results(tmp_path):
    path = tmp_path / "pair.stablehlo"
    export(lambda x, y: (layer(x), x + y), path, ("n", 8, 8, 8), ("n", 8, 8, 8))
    x = draw(3, 8, 8, 8)
    found = load_exported(path)(x, x)
    close(found[0], layer(x))
    close(found[1], 2 * x)


def test_a_damaged_file_is_refused(tmp_path, long):
    path = tmp_path / "layer.stablehlo"
    export(layer, path, (1, 8, 8, 8))
    whole = path.read_bytes()
    damaged = [whole[:-1], whole[: len(whole) // 2], b"", b"text"]
    for place in range(0, len(whole), 1 if long else 499):
        damaged.append(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ExportError, match=r"is damaged, or no .stablehlo file"):
            load_exported(path)


# --- ONNX -----------------------------------------------------------------------------------------


@pytest.fixture
def runtime():
    pytest.importorskip("jax2onnx")
    with jax.numpy_rank_promotion("allow"):
        yield pytest.importorskip("onnxruntime")


@pytest.mark.filterwarnings("ignore")  # of the other tools
@pytest.mark.parametrize("name", NAMES)
def test_onnx_runtime_computes_the_same(name, tmp_path, runtime):
    import onnx

    model, path = network(name), tmp_path / "network.onnx"
    images = images_of(name)
    export(model, path, ("batch", *images.shape[1:]))
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = runtime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: np.asarray(images)})
    close(found, model(images), 1e-4)


@pytest.mark.filterwarnings("ignore")  # of the other tools
def test_a_convolution_is_one_node(tmp_path, runtime):
    import onnx

    path = tmp_path / "layer.onnx"
    export(layer, path, ("batch", 8, 8, 8))
    nodes = onnx.load(path).graph.node
    (conv,) = [node for node in nodes if node.op_type == "Conv"]
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in conv.attribute}
    assert attributes["group"] == 8 and list(attributes["dilations"]) == [2, 2]
    assert not {"Mul", "Sub", "Div"} & {node.op_type for node in nodes}


@pytest.mark.filterwarnings("ignore")  # of the other tools
def test_a_convolution_of_volumes_is_a_node_for_each_of_its_planes(tmp_path, runtime):
    """jax2onnx knows one and two axes alone."""
    import onnx

    path, x = tmp_path / "volumes.onnx", draw(2, 9, 7, 6, 4)
    dense, apart = draw(3, 2, 3, 4, 6), draw(2, 3, 1, 1, 4)
    options = {"strides": (2, 1, 2), "padding": ((2, 1), (0, 1), (1, 1))}

    def layers(x):
        y = dilax.depthwise_conv(x, apart, kernel_dilation=(3, 2, 1))
        return dilax.conv(y, dense, kernel_dilation=(2, 1, 1), **options)

    export(layers, path, ("batch", *x.shape[1:]))
    assert sum(node.op_type == "Conv" for node in onnx.load(path).graph.node) == 2 + 3
    session, expected = runtime.InferenceSession(path), jax.jit(layers)(x)
    for count in (2, 1):
        (found,) = session.run(None, {session.get_inputs()[0].name: np.asarray(x[:count])})
        close(found, expected[:count], 1e-4)


@pytest.mark.filterwarnings("ignore")  # of the other tools
@pytest.mark.parametrize("batch", ["batch", 2])
def test_runtimes_get_what_they_fuse(tmp_path, runtime, batch):
    """Convolutions of one entry, relu and biases; of stock layers of Flax as of ours."""
    import onnx

    rngs = nnx.Rngs(0)
    separable = dilax.nn.SeparableConv(8, 16, (3, 3), kernel_dilation=2, rngs=rngs)
    pointwise = nnx.Conv(16, 4, (1, 1), rngs=rngs)
    norms = [nnx.BatchNorm(features, rngs=rngs) for features in (16, 4)]
    last = nnx.Linear(4, 3, rngs=rngs)

    def stack(x):
        y = jax.nn.relu(norms[0](separable(x), use_running_average=True))
        y = jax.nn.relu(norms[1](pointwise(y), use_running_average=True))
        return last(y.mean((1, 2)))

    path, images = tmp_path / "stack.onnx", draw(2, 9, 9, 8)
    export(stack, path, (batch, 9, 9, 8))
    nodes = collections.Counter(node.op_type for node in onnx.load(path).graph.node)
    assert (nodes["Conv"], nodes["Relu"], nodes["MatMul"]) == (3, 2, 1)
    assert not {"Einsum", "Max", "Sub", "Sqrt", "BatchNormalization"} & set(nodes)
    session = runtime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: np.asarray(images)})
    close(found, stack(images), 1e-5)


@pytest.mark.filterwarnings("ignore")  # of the other tools
def test_jax_is_as_before_after_an_export(tmp_path, runtime):
    before = jnp.cumsum
    export(lambda x: jnp.cumsum(x, 1), tmp_path / "sum.onnx", (2, 3))
    assert jnp.cumsum is before


MATRIX = draw(8, 3)
OPERATIONS = {
    "a product of integers": lambda x: jnp.round(9 * x).astype(jnp.int32) @ jnp.ones((8, 3), int),
    "a product of two types": lambda x: lax.dot_general(
        *(array.astype(jnp.float16) for array in (x[0, 0], MATRIX)),
        (((1,), (0,)), ((), ())),
        preferred_element_type=jnp.float32,
    ),
    "a product of volumes": lambda x: jax.nn.relu(x.reshape(2, 2, 3, 7, 8) @ MATRIX),
    "a pool of planes": lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 1, 3, 2), (1, 1, 2, 2), "SAME"
    ),
    "a pool of volumes": lambda x: lax.reduce_window(
        x.reshape(2, 6, 7, 4, 2), 0.0, lax.add, (1, 2, 3, 2, 1), (1, 1, 2, 2, 1), "SAME"
    ),
    "every second feature": lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 2), "VALID"
    ),
}


@pytest.mark.filterwarnings("ignore")  # of the other tools
def test_operations_that_runtimes_know_in_one_form_alone(tmp_path, runtime):
    def all_of_them(x):
        return [function(x) for function in OPERATIONS.values()]

    path, x = tmp_path / "operations.onnx", draw(2, 6, 7, 8)
    export(all_of_them, path, x.shape)
    session = runtime.InferenceSession(path)
    found = session.run(None, {session.get_inputs()[0].name: np.asarray(x)})
    for one, expected in zip(found, all_of_them(x), strict=True):
        assert one.dtype == expected.dtype
        close(one, expected)


@pytest.mark.filterwarnings("ignore")  # of the other tools
def test_images_of_any_size_without_padding(tmp_path, runtime):
    path, x = tmp_path / "layer.onnx", draw(2, 9, 7, 8)

    def valid(x):
        return dilax.depthwise_conv(x, KERNEL, padding="VALID")

    limits = ("height >= 3", "width >= 3")
    export(valid, path, ("batch", "height", "width", 8), constraints=limits)
    session = runtime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: np.asarray(x)})
    close(found, valid(x))


@pytest.mark.filterwarnings("ignore")  # of the other tools
def test_a_layer_that_is_returned_and_read_keeps_its_axes(tmp_path, runtime):
    """Between convolutions, ONNX has other axes than JAX."""

    def two(x):
        first = jax.nn.relu(dilax.depthwise_conv(x, KERNEL))
        return first, jax.nn.relu(dilax.depthwise_conv(first, KERNEL))

    path, x = tmp_path / "layers.onnx", draw(2, 6, 7, 8)
    export(two, path, ("batch", 6, 7, 8))
    session = runtime.InferenceSession(path)
    found = session.run(None, {session.get_inputs()[0].name: np.asarray(x)})
    for one, expected in zip(found, two(x), strict=True):
        close(one, expected)


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(ExportError, match=r"pip install \"dilax-jax\[interop\]\""):
        export(layer, tmp_path / "layer.onnx", (1, 8, 8, 8))


def test_what_jax_needs_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    monkeypatch.delitem(sys.modules, "jax._src.export.serialization", raising=False)
    with pytest.raises(ExportError, match=r"\.stablehlo files need a library: .*flatbuffers"):
        export(layer, tmp_path / "layer.stablehlo", (1, 8, 8, 8))


# --- wrong input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "name", "shapes", "error", "message"),
    [
        (layer, "layer.pt", [(1, 8, 8, 8)], ExportError, "must end in .stablehlo or .onnx, got"),
        (layer, "layer.stablehlo", [], ValueError, "shapes must have the shape of each argument"),
        (layer, "layer.stablehlo", [(0, 8, 8, 8)], ValueError, "each size .* at least 1, got 0"),
        (layer, "layer.stablehlo", [("a b", 8, 8, 8)], ValueError, "must be an identifier"),
        (layer, "layer.stablehlo", [("max", 8, 8, 8)], ValueError, "other than max, min"),
        (layer, "layer.stablehlo", [(1.5, 8, 8, 8)], TypeError, "each size .* must be an integer"),
        (layer, "layer.stablehlo", ["nhwc"], TypeError, "each of shapes must be a sequence"),
        (3, "layer.stablehlo", [(1, 8, 8, 8)], TypeError, "function must be a function, got 3"),
        (
            lambda x: x.reshape(8, -1) if x.shape[0] > 3 else x,
            "layer.stablehlo",
            [("batch", 8)],
            ExportError,
            "exported as .stablehlo: InconclusiveDimensionOperation: .*; if a named size",
        ),
    ],
)
def test_what_cannot_be_exported_is_said(function, name, shapes, error, message, tmp_path):
    with pytest.raises(error, match=message):
        export(function, tmp_path / name, *shapes)
    assert not list(tmp_path.iterdir())
