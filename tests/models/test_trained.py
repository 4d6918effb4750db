"""Trained networks: kept in a file, read from it, and asked what pictures show."""

import dataclasses
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from PIL import Image

from dilax import data, models
from dilax.models._preparation import as_pictures
from dilax.training import CheckpointError, Plan, write_json
from tests.training.network import run_shortly

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

COLOUR = models.Preparation(
    height=12, width=10, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), object_size=None
)


def describe(model="tiniest", preparation=COLOUR, **options):
    names = ("cat", "dog", "eel")
    return models.Description(
        model=model, class_names=names, preparation=preparation, options=options
    )


@pytest.fixture(scope="module")
def model(module_compiles_quickly):
    """A network of random weights that takes pictures of 12x10 pixels."""
    description = describe()
    network = description.create()
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)
    keys = iter(jax.random.split(jax.random.key(1), 100))
    drawn = jax.tree.map(lambda p: p + 0.05 * jax.random.normal(next(keys), p.shape), params)
    return models.TrainedClassifier(nnx.merge(graphdef, drawn, rest), description)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(model, pictures):
    """Probabilities by the definition, in NumPy after the logits."""
    normalised = (pictures / 255 - COLOUR.mean) / np.asarray(COLOUR.std)
    logits = np.asarray(
        jax.jit(model.network.__call__)(jnp.asarray(normalised, jnp.float32)), np.float64
    )
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def close(found, wanted, tolerance=1e-5):
    np.testing.assert_allclose(found.probabilities, wanted, rtol=tolerance, atol=tolerance)


# --- arrays ---------------------------------------------------------------------------------------


def test_probabilities_are_those_of_the_definition(model, pictures, expected):
    found = model.predict(pictures)
    close(found, expected)
    assert len(set(found.classes)) > 1
    assert found.classes == [model.class_names[label] for label in expected.argmax(axis=1)]
    assert found.top(2)[0][0] == (found.classes[0], pytest.approx(expected[0].max()))
    assert [name for name, _ in found.top(9)[1]] == [
        model.class_names[label] for label in np.argsort(-expected[1])
    ]


def test_logits_are_a_pure_function(model, pictures, expected):
    logits = jax.jit(model.logits)(pictures)
    np.testing.assert_allclose(jax.nn.softmax(logits), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "convert",
    [
        lambda p: p / 255,
        lambda p: (p / 255).astype(np.float32),
        lambda p: jnp.asarray(p),
        lambda p: p.astype(np.uint16) * 257,
        lambda p: [Image.fromarray(one) for one in p],
        lambda p: [p[0], p[1] / 255, *map(Image.fromarray, p[2:])],
        lambda p: np.concatenate([p, np.full((*p.shape[:3], 1), 255, np.uint8)], axis=-1),
    ],
)
def test_forms_of_the_same_images(model, pictures, expected, convert):
    close(model.predict(convert(pictures)), expected, 1e-4)


def test_one_image(model, pictures, expected):
    close(model.predict(pictures[0]), expected[:1])
    close(model.predict(Image.fromarray(pictures[0])), expected[:1])


def test_grey_images_and_booleans(model):
    grey = np.random.default_rng(1).integers(0, 2, (4, 12, 10)).astype(bool)
    wanted = model.predict((255 * grey.astype(np.uint8))[..., np.newaxis].repeat(3, axis=-1))
    close(model.predict(grey), wanted.probabilities)
    close(model.predict(grey[0]), wanted.probabilities[:1])


def test_other_sizes_are_cropped_in_the_middle_and_resized(model):
    large = np.random.default_rng(2).integers(0, 256, (48, 60, 3), dtype=np.uint8)
    middle = Image.fromarray(large).resize((10, 12), Image.Resampling.BICUBIC, (10, 0, 50, 48))
    close(model.predict(large), model.predict(np.asarray(middle)).probabilities)


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_the_size_of_a_batch_changes_nothing(model, pictures, expected, size):
    close(model.predict(pictures, batch_size=size), expected)


def test_mirror_images_are_averaged_where_the_run_did(model, pictures):
    description = models.Description(
        model="tiniest", class_names=model.class_names, preparation=COLOUR, mirrored=True
    )
    both = models.TrainedClassifier(model.network, description)
    mean = (model.logits(pictures) + model.logits(pictures[:, :, ::-1])) / 2
    close(both.predict(pictures), jax.nn.softmax(mean))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((5, 3, 12, 10), np.uint8), ValueError, r"images.transpose\(0, 2, 3, 1\)"),
        (np.zeros((2, 2, 12, 10, 3), np.uint8), ValueError, r"got \(2, 2, 12, 10, 3\)"),
        (np.zeros((0, 12, 10, 3), np.uint8), ValueError, r"must have shape .* got \(0, 12"),
        (np.zeros(12, np.uint8), ValueError, r"must have shape .* got \(12,\)"),
        (np.full((12, 10), 200, np.int64), ValueError, r"got int64; convert .*astype\('uint8'\)"),
        (np.full((12, 10), 200.0), ValueError, r"must lie in \[0, 1\], got 200 to 200; divide"),
        (np.full((12, 10), np.nan), ValueError, r"must lie in \[0, 1\], got nan"),
        ([[0.1], [0.2, 0.3]], TypeError, "images must be an array or paths"),
        (["a.png", np.zeros((12, 10))], TypeError, "got paths and array"),
        (Image.new("F", (10, 12)), ValueError, "the image cannot be converted: its pixels are"),
        ("no such picture.png", FileNotFoundError, "no such picture.png does not exist"),
    ],
)
def test_what_is_no_image_is_refused(model, images, error, message):
    with pytest.raises(error, match=message):
        model.predict(images)


def test_a_trained_network_and_its_answers_go_to_other_processes(model, pictures, expected):
    copied, found = pickle.loads(pickle.dumps((model, model.predict(pictures))))
    close(found, expected)
    close(copied.predict(pictures), expected)
    assert copied.description == model.description


# --- files ----------------------------------------------------------------------------------------


def test_files_and_folders(model, pictures, expected, tmp_path):
    (tmp_path / "below").mkdir()
    paths = [tmp_path / "a.png", tmp_path / "b.bmp", tmp_path / "below" / "c.tiff"]
    for path, pixels in zip(paths, pictures, strict=False):
        Image.fromarray(pixels).save(path)
    (tmp_path / "notes.txt").write_text("no picture")
    seen = []
    found = model.predict(tmp_path, batch_size=2, on_progress=lambda *counts: seen.append(counts))
    assert found.paths == tuple(paths) and not found.unread and seen == [(2, 3), (3, 3)]
    close(found, expected[:3])
    close(model.predict(str(paths[1])), expected[1:2])
    close(model.predict([paths[2], tmp_path / "below"]), expected[[2, 2]])


def test_a_corrupt_picture_is_named_and_the_others_are_answered(
    model, pictures, expected, tmp_path
):
    for name, pixels in zip("abd", pictures, strict=False):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "c.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "e.jpg").write_text("text")
    found = model.predict(tmp_path, batch_size=3)
    assert [path.name for path in found.paths] == ["a.png", "b.png", "d.png"]
    assert [path.name for path, _ in found.unread] == ["c.png", "e.jpg"]
    assert all(f"{path} cannot be read as a picture" in why for path, why in found.unread)
    close(found, expected[:3])


def test_hidden_files_are_no_pictures(model, pictures, tmp_path):
    (tmp_path / ".thumbnails").mkdir()
    for name in ("a.png", ".thumbnails/b.png", "._c.png"):
        Image.fromarray(pictures[0]).save(tmp_path / name)
    assert [path.name for path in model.predict(tmp_path).paths] == ["a.png"]
    assert len(model.predict(tmp_path.glob("*.png")).paths) == 2


def test_only_corrupt_pictures_give_no_answer(model, tmp_path):
    (tmp_path / "a.png").write_text("text")
    found = model.predict(tmp_path)
    assert found.probabilities.shape == (0, 3) and found.classes == [] and len(found.unread) == 1


def test_a_folder_without_pictures_is_refused(model, tmp_path):
    with pytest.raises(data.DataError, match=r"must hold pictures .* got none"):
        model.predict(tmp_path)


def test_the_way_a_camera_was_held_does_not_matter(model, tmp_path):
    pixels = np.random.default_rng(3).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    turned = Image.fromarray(np.rot90(pixels, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    turned.save(tmp_path / "turned.png", exif=exif)
    close(model.predict(tmp_path / "turned.png"), model.predict(pixels).probabilities)


def test_a_black_digit_on_white_paper_is_that_of_the_data_set(tmp_path):
    digit = data.load("mnist").splits["train"].images[1]
    preparation = models.Preparation.of_images(data.load("mnist").splits["train"].images[:500])
    assert preparation.object_size == 20
    paper = Image.new("L", (200, 150), 240)
    large = Image.fromarray(255 - digit[..., 0]).resize((112, 112), Image.Resampling.BICUBIC)
    paper.paste(large.point(lambda v: 240 * v // 255), (60, 10))
    paper.save(tmp_path / "paper.jpg", quality=90)
    found = preparation.from_file(tmp_path / "paper.jpg")
    assert np.corrcoef(found.reshape(-1), digit.reshape(-1))[0, 1] > 0.95
    np.testing.assert_array_equal(preparation.from_array(digit), digit)
    with pytest.raises(data.DataError, match=r"images\[1\]: the image must show an object"):
        as_pictures(np.stack([paper, np.full((150, 200), 9, np.uint8)]), preparation)
    Image.new("L", (20, 20), 240).save(tmp_path / "blank.png")
    with pytest.raises(data.DataError, match=r"blank.png must show an object"):
        preparation.from_file(tmp_path / "blank.png")


# --- kept in a file -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiniest", "mnist_dsdc"])
def test_a_saved_network_is_loaded_as_it_was(name, tmp_path):
    options = {"kernel_dilation": (1, 2, 1, 1, 4, 1, 2)} if name == "mnist_dsdc" else {}
    description = describe(name, **options)
    model = models.TrainedClassifier(description.create(), description)
    models.save(model, tmp_path / "network.safetensors")
    loaded = models.load(str(tmp_path / "network.safetensors"))
    assert loaded.description == model.description
    before, after = (nnx.to_pure_dict(nnx.state(one.network)) for one in (model, loaded))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert [path.name for path in tmp_path.iterdir()] == ["network.safetensors"]


def test_every_flipped_bit_is_noticed(model, tmp_path, long):
    path = tmp_path / "network.safetensors"
    models.save(model, path)
    whole = bytearray(path.read_bytes())
    start = int.from_bytes(whole[:8], "little")
    places = set(range(0, len(whole), 1 if long else 997)) | set(range(0, start, 1 if long else 37))
    for place in sorted(places):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(data.DataError):
            models.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a readable .safetensors file"),
        (b"text", "is not a readable .safetensors file"),
        (None, "is not a readable .safetensors file"),
        (safetensors.numpy.save({"a": np.zeros(2)}), "must be a file of dilax.models.save"),
    ],
)
def test_a_foreign_or_truncated_file_is_refused(model, tmp_path, content, message):
    path = tmp_path / "network.safetensors"
    models.save(model, path)
    path.write_bytes(path.read_bytes()[:-5] if content is None else content)
    with pytest.raises(data.DataError, match=message):
        models.load(path)


def test_a_description_of_another_version_is_refused():
    content = json.loads(json.dumps(describe().as_json()))
    assert models.Description.from_json(content) == describe()
    for change in ({"format": 2}, {"extra": 1}, {"preparation": {"height": 1}}, {"preparation": 3}):
        with pytest.raises(data.DataError, match="description of the network cannot be read"):
            models.Description.from_json(content | change)
    with pytest.raises(data.DataError, match="description of the network cannot be read"):
        models.Description.from_json([1])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"mean": (0.5,)}, ValueError, "one entry for each of 1 or 3 channels, got 1 and 3"),
        ({"std": (0.1, 0.0, 0.1)}, ValueError, "std must be positive"),
        ({"height": 0}, ValueError, "height must be at least 1, got 0"),
        ({"object_size": 13}, ValueError, "object_size must be at most 12, got 13"),
        ({"mean": "abc"}, TypeError, "mean must be a sequence of numbers"),
    ],
)
def test_a_preparation_is_checked(change, error, message):
    with pytest.raises(error, match=message):
        dataclasses.replace(COLOUR, **change)


def test_a_preparation_of_arrays_is_one_of_numbers():
    lists = dataclasses.replace(COLOUR, mean=np.asarray(COLOUR.mean), std=list(COLOUR.std))
    assert lists == COLOUR and hash(lists) == hash(COLOUR)
    with pytest.raises(TypeError, match="class_names must be a sequence of names"):
        models.Description(model="tiniest", class_names="abc", preparation=COLOUR)


def test_a_network_that_is_not_known_is_refused(model, tmp_path):
    strange = models.TrainedClassifier(model.network, describe("no_such_network"))
    models.save(strange, tmp_path / "a.safetensors")
    with pytest.raises(data.DataError, match="cannot create: name must be the name of a network"):
        models.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("path", "options", "error", "message"),
    [
        ("nowhere", {}, FileNotFoundError, "nowhere does not exist; give the folder of a trained"),
        (3, {}, TypeError, "path must be the path of a run's folder or of a file, got 3"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path, options, error, message):
    with pytest.raises(error, match=message):
        models.load(path, **options)


def test_weights_are_chosen_only_for_runs(model, tmp_path):
    models.save(model, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="weights must be left out for a file"):
        models.load(tmp_path / "a.safetensors", weights="ema")


def test_only_trained_networks_are_saved(model, tmp_path):
    with pytest.raises(TypeError, match="model must be a TrainedNetwork"):
        models.save(model.network, tmp_path / "a")
    with pytest.raises(OSError):
        models.save(model, tmp_path / "no folder" / "a")


# --- the folder of a run --------------------------------------------------------------------------


def test_a_run_without_a_description_is_refused(tmp_path):
    run_shortly(tmp_path, Plan(num_examples=16, batch_size=8, epochs=1), config={})
    write_json(tmp_path / "config.json", {"evaluate": "final"})
    with pytest.raises(CheckpointError, match="without a description of their network"):
        models.load(tmp_path)
    with pytest.raises(ValueError, match="weights must be one of final, ema, best"):
        models.load(tmp_path, weights="worst")
