"""Networks that classify clips: counts, twins, time, arrays and files of videos, files, export."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dilax import inference, models
from dilax.analysis import multiply_adds, parameter_count
from dilax.data import DataError
from dilax.models._registry import MODELS
from dilax.models._video import VideoBlock
from tests.data.test_videos import write_frames
from tests.models import abstract

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

NAMES = [name for name in models.list_models() if issubclass(MODELS[name], models.VideoClassifier)]
SMALL = {"widths": (4, 4, 6), "kernel_dilation": (2,), "in_features": 3}
COLOUR = models.VideoPreparation(
    frames=4, height=16, width=12, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)
)
CLIP = jax.ShapeDtypeStruct((1, 12, 32, 32, 1), jnp.float32)
each_network = pytest.mark.parametrize("name", NAMES)


def drawn(name, **options):
    """A network whose parameters and statistics are random, in evaluation."""
    graphdef, state = nnx.split(abstract.shapes(name, **options))
    random = np.random.default_rng(1)
    filled = jax.tree.map(lambda x: jnp.asarray(random.uniform(0.1, 0.6, x.shape), x.dtype), state)
    network = nnx.merge(graphdef, filled)
    network.eval()
    return network


@pytest.fixture(scope="module")
def model(module_compiles_quickly):
    """A small network of random weights for colours, of kernels over space and then time."""
    description = models.Description(
        model="video_dsdc",
        task="video_classification",
        class_names=("left", "right", "up"),
        preparation=COLOUR,
        options={**SMALL, "factorised": True},
    )
    network = drawn("video_dsdc", classes=3, **description.options)
    return models.TrainedVideoClassifier(network, description)


@pytest.fixture(scope="module")
def clips():
    """Noise of the form of the network's clips."""
    shape = (3, 4, 16, 12, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@each_network
def test_docstring_states_the_parameters(name):
    stated = re.search(r"([\d,]+) parameters", MODELS[name].__doc__)
    found = parameter_count(nnx.state(abstract.shapes(name), nnx.Param))
    assert int(stated[1].replace(",", "")) == found


def test_docstring_states_the_multiply_adds():
    stated = re.search(r"([\d,]+) multiply-adds", models.VideoDSDC.__doc__)
    run = abstract.activations("video_dsdc")
    assert int(stated[1].replace(",", "")) == multiply_adds(lambda x: run(x)["logits"], CLIP)


def test_twins_have_equal_layers_and_a_tenth_of_the_parameters():
    assert NAMES == ["video_dsdc", "video_dense", "video_frame"]
    ours, dense, frame = (abstract.layer_shapes(abstract.activations(name), CLIP) for name in NAMES)
    assert ours == dense and ours["stem"] == (1, 12, 16, 16, 16)
    one = {layer: (shape[0], 1, *shape[2:]) for layer, shape in ours.items() if layer != "logits"}
    assert frame == one | {"logits": (1, 10)}
    count, most = (
        parameter_count(nnx.state(abstract.shapes(name), nnx.Param)) for name in NAMES[:2]
    )
    assert 10 * count < most


@each_network
@pytest.mark.parametrize("shape", [(5, 9, 40), (1, 1, 1)])
def test_clips_may_have_any_length_and_size(name, shape):
    network = abstract.filled(abstract.shapes(name, classes=3, in_features=2), 0)
    network.eval()
    clip = jax.ShapeDtypeStruct((2, *shape, 2), jnp.float32)
    assert jax.eval_shape(network.__call__, clip).shape == (2, 3)


@each_network
def test_a_clip_without_a_batch_is_refused(name):
    with pytest.raises(ValueError, match=r"\(N, T, H, W, C\), got .*a batch of one: clips\[None\]"):
        abstract.shapes(name)(jnp.ones((4, 8, 8, 1)))


@pytest.mark.parametrize("name", ["video_dense", "video_frame"])
def test_what_has_nothing_to_factorise_says_so(name):
    with pytest.raises(ValueError, match="factorised must be False for a network without depth"):
        abstract.shapes(name, factorised=True)
    with pytest.raises(TypeError, match="factorised must be a bool"):
        abstract.shapes("video_dsdc", factorised=1)


def test_a_factorised_block_is_that_of_the_product_of_its_kernels():
    """One over space and then one over time are one over both, whose taps are their products."""
    options = {"kernel_dilation": 2, "strides": (1, 2, 2), "rngs": nnx.Rngs(0)}
    parts, whole = (
        VideoBlock(3, 4, (3, 3, 3), factorised=factorised, **options)
        for factorised in (True, False)
    )
    for block in (parts, whole):
        block.eval()
    inner = whole.block
    inner.pointwise_kernel = nnx.Param(parts.block.pointwise_kernel[...])
    space, time = parts.spatial.kernel[...], parts.block.depthwise_kernel[...]
    assert space.shape == (1, 3, 3, 1, 3) and time.shape == (3, 1, 1, 1, 3)
    inner.depthwise_kernel = nnx.Param(space * time)
    x = np.random.default_rng(0).normal(size=(2, 7, 9, 8, 3)).astype(np.float32)
    found, expected = jax.jit(lambda x: (parts(x), whole(x)))(x)
    assert found.shape == (2, 7, 5, 4, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_time_is_seen_and_in_its_direction(model, clips):
    """A clip backwards is another one."""
    forwards, backwards = model.predict(clips), model.predict(clips[:, ::-1])
    assert abs(forwards.probabilities - backwards.probabilities).max() > 1e-3


def test_one_network_sees_the_frame_in_the_middle_alone():
    network = drawn("video_frame", classes=2, widths=(2, 2, 2), kernel_dilation=())
    clip = np.zeros((5, 4, 4, 1), np.float32)
    changed = [clip + np.eye(5, dtype=np.float32)[frame, :, None, None, None] for frame in range(5)]
    logits = np.asarray(jax.jit(network.__call__)(np.stack([clip, *changed])))
    moved = (logits[1:] != logits[0]).any(axis=1)
    assert moved.tolist() == [False, False, True, False, False]


def test_any_arrays_are_answered(model, clips):
    found = model.predict(clips)
    assert found.probabilities.shape == (3, 3) and set(found.classes) <= {"left", "right", "up"}
    normalised = (clips / 255 - COLOUR.mean) / np.asarray(COLOUR.std)
    logits = jax.jit(model.network.__call__)(jnp.asarray(normalised, jnp.float32))
    np.testing.assert_allclose(found.probabilities, jax.nn.softmax(logits), rtol=1e-3, atol=1e-5)
    longer = clips.repeat(5, axis=1)
    for given in (longer, list(longer)):
        np.testing.assert_array_equal(model.predict(given).probabilities, found.probabilities)
    one = model.predict(clips[0] / np.float32(255)).probabilities
    np.testing.assert_allclose(one, found.probabilities[:1], atol=1e-5)
    assert model.predict(np.zeros((9, 50, 60, 1), bool)).probabilities.shape == (1, 3)


def test_files_are_answered(model, tmp_path):
    for name, count in {"a": 20, "b": 4, "short": 3}.items():
        write_frames(tmp_path / name, count)
    (tmp_path / "c.mp4").write_bytes(b"damaged")
    seen = []
    found = model.predict(tmp_path, on_progress=lambda done, total: seen.append((done, total)))
    assert [path.name for path in found.paths] == ["a", "b"] and seen == [(4, 4)]
    assert [path.name for path, _ in found.unread] == ["c.mp4", "short"]
    brightness = 10 * np.arange(20, dtype=np.uint8)  # as the frames in the folder have it
    array = np.broadcast_to(brightness[:, None, None, None], (20, 9, 12, 1))
    expected = model.predict(array).probabilities
    np.testing.assert_allclose(found.probabilities[:1], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.zeros((3, 16, 12, 3), np.uint8), DataError, "clip must have at least 4 frames, got 3"),
        (np.zeros((16, 12, 3), np.uint8), ValueError, r"clips must have shape \(t, h, w, c\)"),
        (np.full((4, 8, 8, 3), 300), ValueError, "images must be uint8"),
        (object(), ValueError, "clips must have shape"),
        ("nowhere.mp4", FileNotFoundError, "nowhere.mp4 does not exist; give a video"),
        (["a.mp4", np.zeros((4, 8, 8, 3))], TypeError, "images must be an array or paths"),
    ],
)
def test_what_is_no_clip_is_refused(model, given, error, message):
    with pytest.raises(error, match=message):
        model.predict(given)


def test_a_file_holds_all_that_is_needed(model, tmp_path):
    models.save(model, tmp_path / "moves.safetensors")
    loaded = models.load(tmp_path / "moves.safetensors")
    assert type(loaded) is models.TrainedVideoClassifier
    assert repr(loaded) == "TrainedVideoClassifier(video_dsdc, 3 classes, clips 4x16x12x3)"
    states = (jax.tree.leaves(nnx.state(one.network)) for one in (loaded, model))
    for found, expected in zip(*states, strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(TypeError, match="preparation must be a VideoPreparation"):
        models.Description(
            model="video_dsdc",
            task="video_classification",
            class_names=("a", "b"),
            preparation=models.Preparation(height=8, width=8, mean=(0.5,), std=(0.2,)),
        )


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".stablehlo", ".onnx"])
def test_exported_networks_answer_equally(model, clips, tmp_path, suffix):
    path = tmp_path / f"moves{suffix}"
    images = clips / np.float32(255)
    inference.export(model.logits, path, ("batch", *images.shape[1:]))
    for count in (3, 1):
        given = images[:count]
        if suffix == ".stablehlo":
            found = inference.load_exported(path)(given)
        else:
            runtime = pytest.importorskip("onnxruntime")
            session = runtime.InferenceSession(path)
            (found,) = session.run(None, {session.get_inputs()[0].name: given})
        np.testing.assert_allclose(found, model.logits(given), rtol=1e-4, atol=1e-4)
