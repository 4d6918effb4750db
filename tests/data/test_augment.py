"""Laws of the augmentations, and their agreement with NumPy's and SciPy's forms."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.ndimage import map_coordinates

from dilax.data import _resampling, augment

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

# Under jit throughout, which is how a training step has them and far quicker to compile.
RANDOM = {
    "shift": jax.jit(partial(augment.random_shift, pixels=2)),
    "rotation": jax.jit(partial(augment.random_rotation, degrees=20)),
    "affine": jax.jit(partial(augment.random_affine, degrees=20, scale=0.1, shift=1.5, shear=0.2)),
    "flip": jax.jit(augment.random_flip),
    "cutout": jax.jit(partial(augment.random_cutout, size=3)),
}
NEUTRAL = {
    "shift": jax.jit(partial(augment.random_shift, pixels=0)),
    "rotation": jax.jit(partial(augment.random_rotation, degrees=0)),
    "affine": jax.jit(augment.random_affine),
    "cutout": jax.jit(partial(augment.random_cutout, size=0)),
}
affine = jax.jit(_resampling.affine)
translate = jax.jit(_resampling.translate)
affine_matrices = jax.jit(_resampling.affine_matrices)


@pytest.fixture
def images() -> jax.Array:
    return jax.random.uniform(jax.random.key(7), (6, 7, 5, 3))


@pytest.mark.parametrize("function", NEUTRAL.values(), ids=NEUTRAL)
def test_zero_strength_changes_nothing(function, key: jax.Array, images: jax.Array) -> None:
    np.testing.assert_array_equal(function(key, images), images)


@pytest.mark.parametrize("function", RANDOM.values(), ids=RANDOM)
def test_the_key_decides_and_each_image_is_drawn_by_itself(function, images: jax.Array) -> None:
    copies = jnp.broadcast_to(images[:1], images.shape)
    first, again, other = (function(jax.random.key(seed), copies) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(np.asarray(first).reshape(len(images), -1), axis=0)) > 1


@pytest.mark.parametrize("function", RANDOM.values(), ids=RANDOM)
def test_shape_and_dtype_stay_and_vmap_works(function, key: jax.Array, images: jax.Array) -> None:
    for dtype in (jnp.float32, jnp.bfloat16):
        result = jax.eval_shape(function, key, images.astype(dtype))
        assert (result.shape, result.dtype) == (images.shape, dtype)
    keys = jax.random.split(jax.random.key(3), 2)
    stacked = jnp.stack([images, 1 - images])
    one_by_one = jnp.stack([function(k, i) for k, i in zip(keys, stacked, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(function))(keys, stacked), one_by_one, atol=1e-5)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -1), (-3, 4), (7, 0), (0, -9)])
def test_translate_is_a_roll_with_zeros(images: jax.Array, down: int, right: int) -> None:
    padded = np.pad(images, ((0, 0), (9, 9), (9, 9), (0, 0)))
    expected = np.roll(padded, (down, right), axis=(1, 2))[:, 9:-9, 9:-9]
    offsets = jnp.broadcast_to(jnp.array([down, right]), (len(images), 2))
    np.testing.assert_array_equal(translate(images, offsets), expected)


def test_random_shift_reaches_every_offset() -> None:
    images = jnp.zeros((400, 5, 5, 1)).at[:, 2, 2].set(1)
    shift = jax.jit(partial(augment.random_shift, pixels=1))
    shifted = np.asarray(shift(jax.random.key(0), images))
    counts = shifted.sum(0)[..., 0]
    assert counts[1:4, 1:4].min() > 20
    assert counts.sum() == counts[1:4, 1:4].sum() == 400


def matrices(angle=0.0, scale=1.0, shear=0.0, shift=(0.0, 0.0), count=6) -> jax.Array:
    return affine_matrices(
        np.full(count, angle, np.float32),
        np.full(count, scale, np.float32),
        np.full(count, shear, np.float32),
        np.full((count, 2), shift, np.float32),
    )


@pytest.mark.parametrize("turns", [1, 2, 3, -1])
def test_quarter_turns_are_rot90(turns: int) -> None:
    """Counter-clockwise, about the centre of an image of even and of odd size."""
    for size in (6, 7):
        images = np.random.default_rng(size).random((6, size, size, 3), dtype=np.float32)
        turned = affine(images, matrices(angle=turns * np.pi / 2))
        np.testing.assert_allclose(turned, np.rot90(images, turns, axes=(1, 2)), atol=1e-5)


def test_whole_shift_is_translate(images: jax.Array) -> None:
    offsets = jnp.broadcast_to(jnp.array([2, -1]), (6, 2))
    moved = affine(images, matrices(shift=(2.0, -1.0)))
    np.testing.assert_allclose(moved, translate(images, offsets), atol=1e-6)


CENTRE = np.pad([[1.0]], 3)


@pytest.mark.parametrize(
    ("drawn", "options", "expected"),
    [
        # Twice as large, a point is half as bright one pixel away.
        (CENTRE, {"scale": 2.0}, np.pad(np.outer(*[[0.5, 1, 0.5]] * 2), 2)),
        # A shear moves the lower rows of an upright line to the right.
        (np.ones((7, 1)) * np.eye(7)[3], {"shear": 1.0}, np.eye(7)),
        # The shift comes after the turn: from right of the centre to above it, then down.
        (np.roll(CENTRE, 2, axis=1), {"angle": np.pi / 2, "shift": (2.0, 0.0)}, CENTRE),
    ],
    ids=["scale", "shear", "turn and shift"],
)
def test_affine_of_simple_pictures(drawn, options, expected) -> None:
    images = np.broadcast_to(drawn[None, :, :, None], (6, 7, 7, 1)).astype(np.float32)
    moved = affine(images, matrices(**options))
    np.testing.assert_allclose(moved[0, :, :, 0], expected, atol=1e-5)


def test_affine_agrees_with_map_coordinates(images: jax.Array) -> None:
    """JAX's own resampling, one image and one channel at a time, far over the edges too."""
    linear = np.random.default_rng(1).normal(size=(6, 2, 3)).astype(np.float32) * [1.0, 1.0, 3.0]
    height, width = images.shape[1:3]
    y, x = np.meshgrid(np.arange(height) - 3.0, np.arange(width) - 2.0, indexing="ij")
    points = np.stack([y, x, np.ones_like(y)])
    expected = np.zeros(images.shape)
    resample = jax.jit(partial(map_coordinates, order=1))
    for n in range(6):
        source = np.tensordot(linear[n], points, 1) + np.array([3.0, 2.0])[:, None, None]
        for c in range(3):
            expected[n, ..., c] = resample(images[n, ..., c], list(source.astype(np.float32)))
    np.testing.assert_allclose(affine(images, linear), expected, atol=1e-5)


def test_random_affine_stays_within_its_limits(images: jax.Array) -> None:
    """A shift of a quarter pixel at most moves a column's weight by a quarter at most."""
    column = jnp.zeros((200, 5, 5, 1)).at[:, 2, 2].set(1)
    moved = jax.jit(partial(augment.random_affine, shift=0.25))(jax.random.key(0), column)
    assert 0.5 < float(moved[:, 2, 2, 0].min()) < 0.65
    assert float(moved[:, 2, 2, 0].max()) > 0.9


def test_affine_has_a_gradient(images: jax.Array) -> None:
    """The operation is linear in the images, so its gradient sums the weights."""
    gradient = jax.jit(jax.grad(lambda x: affine(x, matrices(shift=(0.5, 0.0))).sum()))(images)
    np.testing.assert_allclose(gradient[:, :-1], 1.0, atol=1e-6)
    np.testing.assert_allclose(gradient[:, -1], 0.5, atol=1e-6)


def test_flip_mirrors_about_half(images: jax.Array) -> None:
    batch = jnp.broadcast_to(images[:1], (400, *images.shape[1:]))
    flipped = np.asarray(RANDOM["flip"](jax.random.key(0), batch))
    same = (flipped == np.asarray(images[0])).all((1, 2, 3))
    mirrored = (flipped == np.asarray(images[0, :, ::-1])).all((1, 2, 3))
    assert np.all(same ^ mirrored)
    assert 150 < mirrored.sum() < 250


def test_alternating_flip_shows_each_image_both_ways() -> None:
    images = np.random.default_rng(0).integers(0, 256, (200, 4, 5, 3), dtype=np.uint8)
    flip = jax.jit(augment.alternating_flip)
    even, odd, fourth = (np.asarray(flip(images, epoch)) for epoch in (0, 1, 4))
    mirrored = (even == images[:, :, ::-1]).all((1, 2, 3))
    assert 70 < mirrored.sum() < 130
    np.testing.assert_array_equal(even[~mirrored], images[~mirrored])
    np.testing.assert_array_equal(odd, even[:, :, ::-1])
    np.testing.assert_array_equal(fourth, even)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_cutout_zeroes_one_square(key: jax.Array, size: int) -> None:
    cutout = jax.jit(partial(augment.random_cutout, size=size))
    cut = np.asarray(cutout(key, jnp.ones((200, 7, 6, 2)))) == 0
    rows, columns = cut.any((2, 3)).sum(1), cut.any((1, 3)).sum(1)
    assert set(rows) <= set(range(1, size + 1))
    assert np.array_equal(cut.sum((1, 2, 3)), rows * columns * 2)
    assert (rows * columns).max() == size**2
    assert cut.any((0, 3)).all()


def test_cutout_wider_than_the_image(key: jax.Array, images: jax.Array) -> None:
    assert not augment.random_cutout(key, images, size=20).any()


def test_normalize_of_bytes_and_floats() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    mean, std = [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]
    expected = (images / 255 - np.array(mean)) / np.array(std)
    for given in (images, (images / 255).astype(np.float32)):
        result = augment.normalize(given, mean=mean, std=std)
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, expected, atol=1e-5)
    by_one_number = augment.normalize(jnp.full((1, 2, 2, 3), 0.75), mean=0.5, std=0.5)
    np.testing.assert_allclose(by_one_number, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k, x: augment.random_flip(k, x[0]), r"images must be float \(N, H, W, C\), got"),
        (lambda k, x: augment.random_flip(k, x.astype(jnp.uint8)), "got uint8"),
        (lambda k, x: augment.alternating_flip(x, 0), r"must be uint8 \(N, H, W, C\), got float32"),
        (
            lambda k, x: augment.alternating_flip(x.astype(jnp.uint8), 0.5),
            "one integer, got float32",
        ),
        (lambda k, x: augment.normalize(x.astype(jnp.int32), mean=0, std=1), "got int32"),
        (lambda k, x: augment.random_shift(k, x, pixels=-1), "pixels must be 0 or more .* got -1"),
        (lambda k, x: augment.random_rotation(k, x, degrees=-5), "degrees must be 0 or more"),
        (lambda k, x: augment.random_affine(k, x, shear=-1), "shear must be 0 or more"),
        (lambda k, x: augment.random_affine(k, x, scale=1.0), "scale must be below 1"),
        (lambda k, x: augment.random_cutout(k, x, size=-1), "size must be 0 or more"),
    ],
)
def test_errors(call, message: str, key: jax.Array, images: jax.Array) -> None:
    with pytest.raises(ValueError, match=message):
        call(key, images)


@pytest.mark.parametrize("name", [name for name in dir(augment) if name.startswith("random_")])
def test_conventions(name: str) -> None:
    """The key first, then the images; everything else by keyword."""
    parameters = list(inspect.signature(getattr(augment, name)).parameters.values())
    assert [parameter.name for parameter in parameters[:2]] == ["key", "images"]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters[2:])
