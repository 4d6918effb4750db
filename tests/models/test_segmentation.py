"""Networks that classify each pixel: counts, twins, any size, tiles, files, export."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from dilax import inference, models
from dilax.analysis import parameter_count
from dilax.data import DataError
from dilax.models._registry import MODELS
from dilax.models._tiles import spans
from tests.models import abstract

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

NAMES = [name for name in models.list_models() if issubclass(MODELS[name], models.Segmenter)]
SMALL = {"widths": (4, 6), "kernel_dilation": (2,), "in_features": 3}
COLOUR = models.Preparation(height=32, width=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
each_network = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def model(module_compiles_quickly):
    """A small U-Net of random weights for colours."""
    description = models.Description(
        model="unet_dsdc",
        task="segmentation",
        class_names=("sky", "sea", "land"),
        preparation=COLOUR,
        options=SMALL,
    )
    network = description.create()
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)
    keys = iter(jax.random.split(jax.random.key(1), 100))
    drawn = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(next(keys), p.shape), params)
    return models.TrainedSegmenter(nnx.merge(graphdef, drawn, rest), description)


@pytest.fixture(scope="module")
def picture():
    """Smooth noise, so that neighbouring pixels are often of one class."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 26, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((150, 170), Image.Resampling.BICUBIC))


def test_there_are_four():
    assert NAMES == ["unet_dsdc", "unet_dense", "deeplab_dsdc", "deeplab_dense"]


@each_network
def test_docstring_states_the_parameters(name):
    stated = re.search(r"([\d,]+) parameters", MODELS[name].__doc__)
    found = parameter_count(nnx.state(abstract.shapes(name), nnx.Param))
    assert int(stated[1].replace(",", "")) == found


@pytest.mark.parametrize("kind", ["unet", "deeplab"])
def test_twins_have_equal_layers_and_a_fifth_of_the_parameters(kind):
    image = jax.ShapeDtypeStruct((1, 64, 64, 1), jnp.float32)
    ours, dense = (f"{kind}_{name}" for name in ("dsdc", "dense"))
    layers = [abstract.layer_shapes(abstract.activations(name), image) for name in (ours, dense)]
    assert layers[0] == layers[1]
    count, most = (
        parameter_count(nnx.state(abstract.shapes(name), nnx.Param)) for name in (ours, dense)
    )
    assert 5 * count < most


@each_network
@pytest.mark.parametrize("size", [(64, 64), (37, 50), (9, 8), (1, 3)])
def test_logits_are_as_large_as_the_image(name, size):
    network = abstract.filled(abstract.shapes(name, classes=3, in_features=2), 0)
    network.eval()
    found = jax.eval_shape(network.__call__, jax.ShapeDtypeStruct((2, *size, 2), jnp.float32))
    assert found.shape == (2, *size, 3)


@each_network
def test_an_image_without_a_batch_is_refused(name):
    with pytest.raises(ValueError, match=r"\(N, H, W, C\), got .*a batch of one: images\[None\]"):
        abstract.shapes(name)(jnp.ones((8, 8, 1)))


@pytest.mark.parametrize("name", ["deeplab_dsdc", "deeplab_dense"])
def test_output_stride_is_8_whatever_the_dilation(name):
    image = jax.ShapeDtypeStruct((1, 64, 64, 1), jnp.float32)
    for dilation in ((1, 2, 3, 1), (2, 2), (4, 4, 4, 4, 4)):
        run = abstract.activations(name, kernel_dilation=dilation)
        layers = abstract.layer_shapes(run, image)
        assert layers["pyramid"][1:3] == layers[f"dilated_{len(dilation)}"][1:3] == (8, 8)


def test_masks_are_those_of_the_largest_logits(model, picture):
    found = model.predict(picture)
    normalised = (picture[None] / 255 - COLOUR.mean) / np.asarray(COLOUR.std)
    logits = model.network(jnp.asarray(normalised, jnp.float32))
    mask = found.masks[0]
    assert (mask == np.asarray(logits[0].argmax(-1))).mean() > 0.999  # but for rounding
    assert mask.shape == picture.shape[:2] and mask.dtype == np.uint8
    assert len(np.unique(mask)) > 1
    assert sum(found.shares(0).values()) == pytest.approx(1)
    assert found.shares(0)["sea"] == pytest.approx((mask == 1).mean())


@pytest.mark.parametrize(
    "tile", [64, *(pytest.param(tile, marks=pytest.mark.long) for tile in (80, 128))]
)
def test_tiles_answer_as_the_whole_picture(model, picture, tile):
    """Also at its edges, and where its sides are no multiples of the stride."""
    for image in (picture, picture[:169, :77], picture[:63, :149]):
        whole, tiled = model.predict(image), model.predict(image, tile=tile)
        assert (whole.masks[0] == tiled.masks[0]).mean() > 0.9999


@pytest.mark.parametrize("length", [100, 104, 128, 200, 1000])
def test_spans_cover_an_axis_once_with_margins(length):
    covered = 0
    for computed, kept in spans(length, 96, 16, 8):
        assert kept.start == covered and computed.start % 8 == length % 8 * (computed.start > 0)
        assert computed.start == 0 or kept.start - computed.start >= 16
        assert computed.stop == length or computed.stop - kept.stop >= 16
        covered = kept.stop
    assert covered == length


def test_any_pictures_are_answered_at_their_own_size(model, picture, tmp_path):
    grey = picture[:20, :30, 0]
    found = model.predict([grey, picture[:16], Image.fromarray(picture[:, :24])])
    assert [mask.shape for mask in found.masks] == [(20, 30), (16, 150), (170, 24)]
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(grey).convert("RGBA").save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"damaged")
    seen = []
    found = model.predict(tmp_path, on_progress=lambda done, total: seen.append((done, total)))
    assert [path.name for path in found.paths] == ["a.png", "b.png"]
    assert [mask.shape for mask in found.masks] == [(170, 150), (20, 30)]
    assert found.unread[0][0].name == "c.png" and seen[-1] == (3, 3)
    np.testing.assert_array_equal(found.masks[0], model.predict(picture).masks[0])


@pytest.mark.parametrize(
    ("images", "options", "error", "message"),
    [
        (np.zeros((8, 8)), {"tile": 32}, ValueError, "tile must be at least 64, got 32"),
        (np.full((8, 8), 300), {}, ValueError, "images must be uint8"),
        (np.zeros((2, 3, 4, 5, 6)), {}, ValueError, "images must have shape"),
        ("nowhere.png", {}, FileNotFoundError, "nowhere.png"),
        ([np.zeros((8, 8)), "a.png"], {}, TypeError, "images must be an array or paths"),
    ],
)
def test_what_is_no_picture_is_refused(model, images, options, error, message):
    with pytest.raises(error, match=message):
        model.predict(images, **options)


def test_a_folder_without_pictures_is_refused(model, tmp_path):
    with pytest.raises(DataError, match="picture"):
        model.predict(tmp_path)


def test_a_file_holds_all_that_is_needed(model, picture, tmp_path):
    models.save(model, tmp_path / "land.safetensors")
    loaded = models.load(tmp_path / "land.safetensors")
    assert isinstance(loaded, models.TrainedSegmenter)
    assert repr(loaded) == "TrainedSegmenter(unet_dsdc, 3 classes, 3 channels)"
    np.testing.assert_array_equal(loaded.predict(picture).masks[0], model.predict(picture).masks[0])


def test_an_unknown_task_is_refused(model):
    with pytest.raises(ValueError, match="task must be one of classification, segmentation, "):
        dataclasses.replace(model.description, task="guessing")


def test_what_only_classifiers_can_is_refused(model, picture):
    with pytest.raises(TypeError, match="model must be a TrainedClassifier"):
        models.prune(model, 0.5, images=picture[None], labels=np.zeros(1, np.int32))


@pytest.mark.parametrize("suffix", [".stablehlo", ".onnx"])
def test_exported_networks_answer_equally(model, picture, tmp_path, suffix):
    images = picture[None, :32, :40] / np.float32(255)
    path = tmp_path / f"land{suffix}"
    inference.export(model.logits, path, ("batch", *images.shape[1:]))
    expected = model.logits(images)
    if suffix == ".stablehlo":
        found = inference.load_exported(path)(images)
    else:
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(path)
        (found,) = session.run(None, {session.get_inputs()[0].name: images})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
