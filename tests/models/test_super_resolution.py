"""Networks that enlarge images: counts, twins, any size, tiles, files, export."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from dilax import inference, models
from dilax.analysis import parameter_count
from dilax.models._registry import MODELS
from dilax.models._super_resolution import enlarge, pixel_shuffle
from tests.models import abstract

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

NAMES = [name for name in models.list_models() if issubclass(MODELS[name], models.SuperResolver)]
SMALL = {"features": 6, "kernel_dilation": (1, 2)}
COLOUR = models.Preparation(height=24, width=24, mean=(0.0,) * 3, std=(1.0,) * 3)
each_network = pytest.mark.parametrize("name", NAMES)


def describe(scale):
    return models.Description(
        model="sr_dsdc",
        task="super_resolution",
        class_names=(),
        preparation=COLOUR,
        options={**SMALL, "scale": scale},
    )


@pytest.fixture(scope="module", params=[2, 4])
def model(request, module_compiles_quickly):
    """A small network of random weights, whose head is not zero."""
    description = describe(request.param)
    graphdef, params, rest = nnx.split(description.create(), nnx.Param, ...)
    keys = iter(jax.random.split(jax.random.key(1), 100))
    drawn = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(next(keys), p.shape), params)
    return models.TrainedSuperResolver(nnx.merge(graphdef, drawn, rest), description)


@pytest.fixture(scope="module")
def picture():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (75, 90, 3), dtype=np.uint8)


def count(name, **options):
    return parameter_count(nnx.state(abstract.shapes(name, **options), nnx.Param))


def test_there_are_two():
    assert NAMES == ["sr_dsdc", "sr_dense"]


@each_network
def test_docstring_states_the_parameters(name):
    stated = re.search(r"([\d,]+) parameters", MODELS[name].__doc__)
    assert int(stated[1].replace(",", "")) == count(name)


@pytest.mark.parametrize("scale", [2, 4])
def test_twins_have_equal_layers_and_a_quarter_of_the_parameters(scale):
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    runs = [abstract.activations(name, scale=scale) for name in NAMES]
    ours, dense = (abstract.layer_shapes(run, images) for run in runs)
    assert ours == dense
    assert 4 * count("sr_dsdc", scale=scale) < count("sr_dense", scale=scale)


@each_network
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_images_of_any_size_grow_by_the_scale(name, scale):
    network = abstract.shapes(name, scale=scale, in_features=4, **SMALL)
    given = jax.ShapeDtypeStruct((2, 7, 9, 4), jnp.float32)
    found = jax.eval_shape(abstract.filled(network, 0).__call__, given)
    assert found.shape == (2, 7 * scale, 9 * scale, 3)


def test_an_image_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"\(N, H, W, C\), got .*a batch of one: images\[None\]"):
        abstract.shapes("sr_dsdc")(jnp.ones((8, 8, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 5}, "scale must be one of 1, 2, 3, 4, 8, got 5"),
        ({"scale": 2.5}, "scale must be an integer"),
        ({"in_features": 1}, "in_features must be at least 3, got 1"),
        ({"kernel_dilation": (0,)}, "kernel_dilation must be at least 1"),
    ],
)
def test_an_impossible_network_is_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        abstract.shapes("sr_dsdc", **options)


def test_training_begins_at_bicubic_enlargement(picture):
    """As Pillow's, which rounds and clips between rows and columns."""
    network, soft = describe(2).create(), picture // 2 + 64
    images = jnp.asarray(soft[None] / np.float32(255))
    np.testing.assert_allclose(network(images), enlarge(images, 2), atol=1e-6)
    size = (2 * picture.shape[1], 2 * picture.shape[0])
    pillow = Image.fromarray(soft).resize(size, Image.Resampling.BICUBIC)
    np.testing.assert_allclose(255 * enlarge(images, 2)[0], np.asarray(pillow), atol=1.5)


def test_pixel_shuffle_is_that_of_loops():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 18)).astype(np.float32)
    found = np.asarray(pixel_shuffle(jnp.asarray(x), 3))
    for n, row, column, channel in np.ndindex(*found.shape):
        feature = (3 * (row % 3) + column % 3) * 2 + channel
        assert found[n, row, column, channel] == x[n, row // 3, column // 3, feature]


def test_the_answer_is_that_of_the_network(model, picture):
    found = model.predict(picture).images[0]
    expected = 255 * np.clip(np.asarray(model.network(jnp.asarray(picture[None] / 255.0))), 0, 1)
    assert found.dtype == np.uint8 and found.shape == expected.shape[1:]
    np.testing.assert_allclose(found, expected[0], atol=0.51)


def test_tiles_answer_as_the_whole_picture(model, picture):
    """Also at its edges."""
    for image in (picture, picture[:63], picture[:, :65]):
        whole, tiled = model.predict(image).images[0], model.predict(image, tile=64).images[0]
        difference = np.abs(whole.astype(int) - tiled)
        assert difference.max() <= 1 and difference.mean() < 1e-3  # but for rounding


def test_any_pictures_are_enlarged(model, picture, tmp_path):
    scale = model.network.scale
    found = model.predict([picture[:20, :30, 0], Image.fromarray(picture[:16])])
    shapes = [(20 * scale, 30 * scale, 3), (16 * scale, 90 * scale, 3)]
    assert [image.shape for image in found.images] == shapes
    Image.fromarray(picture[:20, :30]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"damaged")
    found = model.predict(tmp_path)
    assert [path.name for path in found.paths] == ["a.png"]
    assert found.unread[0][0].name == "b.png"
    np.testing.assert_array_equal(found.images[0], model.predict(picture[:20, :30]).images[0])


def test_a_file_holds_all_that_is_needed(model, picture, tmp_path):
    models.save(model, tmp_path / "large.safetensors")
    loaded = models.load(tmp_path / "large.safetensors")
    assert isinstance(loaded, models.TrainedSuperResolver)
    assert repr(loaded) == f"TrainedSuperResolver(sr_dsdc, {model.network.scale} times, 3 channels)"
    small = picture[:20, :30]
    np.testing.assert_array_equal(loaded.predict(small).images[0], model.predict(small).images[0])


@pytest.mark.parametrize("suffix", [".stablehlo", ".onnx"])
def test_exported_networks_answer_equally(model, picture, tmp_path, suffix):
    images = picture[None, :16, :20] / np.float32(255)
    path = tmp_path / f"large{suffix}"
    inference.export(model.enlarge, path, ("batch", *images.shape[1:]))
    expected = model.enlarge(images)
    if suffix == ".stablehlo":
        found = inference.load_exported(path)(images)
    else:
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(path)
        (found,) = session.run(None, {session.get_inputs()[0].name: images})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
