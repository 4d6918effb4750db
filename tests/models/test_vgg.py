"""The dilated VGG16: the published parameters, as PyTorch saves them, give PyTorch's answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dilax import data, models
from dilax.models._vgg import CONVOLUTIONS
from tests.models import abstract

HEAD = ("classifier.6.weight", "classifier.6.bias")


class Narrow(models.VGG16Dilated):
    """An eighth as wide."""

    WIDTHS = (8, 16, 32, 64, 64)


def narrow(value):
    """The network with one value for all its parameters."""
    return abstract.filled(nnx.eval_shape(lambda: Narrow(rngs=nnx.Rngs(0))), value)


def torch_twin(torch):
    """What `Narrow` should be, in PyTorch, with a classifier for another number of classes."""
    layers, features = [], 3
    for place, (width, count) in enumerate(zip(Narrow.WIDTHS, CONVOLUTIONS, strict=True)):
        for _ in range(count):
            dilation = 2 if place == 4 else 1
            conv = torch.nn.Conv2d(features, width, 3, padding=dilation, dilation=dilation)
            torch.nn.init.kaiming_normal_(conv.weight)
            layers += [conv, torch.nn.ReLU()]
            features = width
        layers.append(torch.nn.MaxPool2d(2) if place < 3 else torch.nn.Identity())
    twin = torch.nn.Module()
    twin.features = torch.nn.Sequential(*layers)
    twin.classifier = torch.nn.Sequential(*[torch.nn.Identity()] * 6, torch.nn.Linear(64, 7))
    return twin


def arrays():
    """A state dict that fits `Narrow`, all ones."""
    params = narrow(1)._torch_params()
    found = {}
    for name, param in params.items():
        *window, ins, outs = (1, *param.shape) if len(param.shape) < 2 else param.shape
        shape = (outs, ins, *window) if name.endswith("weight") else (outs,)
        found[name] = np.ones(shape, np.float32)
    return found


def test_published_parameters_give_the_logits_of_pytorch(tmp_path, compile_quickly):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    twin, path = torch_twin(torch), tmp_path / "vgg16"
    torch.save(twin.state_dict(), path)
    network = narrow(0.5)
    assert sorted(network.load_torch(data.read_state_dict(path))) == sorted(HEAD)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, 16, 24, 3)).astype(np.float32)
    kernel = generator.normal(size=(64, 10)).astype(np.float32)
    network.head.kernel[...] = jnp.asarray(kernel)
    with torch.no_grad():
        maps = twin.features(torch.from_numpy(images).permute(0, 3, 1, 2)).mean((2, 3)).numpy()
    expected = maps @ kernel + 0.5
    logits = jax.jit(network)(images)
    assert abs(expected[0] - expected[1]).max() > 0.05
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


def test_the_published_names_are_torchvisions():
    """Convolutions of ``features``, counted among their ReLUs and the five pools."""
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    params = abstract.shapes("vgg16_dilated")._torch_params()
    names = [f"features.{place}.{kind}" for place in places for kind in ("weight", "bias")]
    assert list(params) == names
    assert params["features.28.weight"].shape == (3, 3, 512, 512)


def test_what_does_not_fit_is_named_and_nothing_is_taken():
    network = narrow(0.5)
    wrong = arrays() | {"features.1.weight": np.ones(3), "features.2.bias": np.ones(9)}
    del wrong["features.28.weight"]
    with pytest.raises(ValueError, match="must be the state dict of VGG16") as raised:
        network.load_torch(wrong)
    for said in (
        "features.1.weight is of no layer",
        "features.2.bias must have shape (8,), got (9,)",
        "features.28.weight is missing",
    ):
        assert said in str(raised.value)
    assert all((array == 0.5).all() for array in jax.tree.leaves(nnx.state(network)))


@pytest.mark.parametrize("shape", [(1, 7, 32, 3), (1, 32, 7, 3), (1, 32, 32, 1), (32, 32, 3)])
def test_images_that_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"\(N, H, W, 3\) with H and W of 8 or more, .* got"):
        abstract.layer_shapes(narrow(0).activations, jax.ShapeDtypeStruct(shape, jnp.float32))


def test_the_smallest_image_fits():
    layers = abstract.layer_shapes(narrow(0).activations, abstract.image("vgg16_dilated", 8, 9))
    assert layers["block_5"] == (1, 1, 1, 64)


def test_the_first_blocks_are_a_choice_of_parameters():
    params = nnx.to_pure_dict(nnx.state(abstract.shapes("vgg16_dilated"), nnx.Param))
    chosen = jax.tree_util.tree_map_with_path(
        lambda path, _: models.in_first_blocks(path, 2), params
    )
    found = {name: set(jax.tree.leaves(layer)) for name, layer in chosen.items()}
    assert found == {
        "block_1": {True},
        "block_2": {True},
        "block_3": {False},
        "block_4": {False},
        "block_5": {False},
        "head": {False},
    }
    with pytest.raises(ValueError, match="blocks must be at most 5, got 6"):
        models.in_first_blocks(("block_1",), 6)
