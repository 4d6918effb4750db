"""MobileNetV2: the published parameters give PyTorch's answers, also with dilation for strides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dilax import data, models
from dilax.data import _cache
from dilax.models import _torch
from dilax.models._mobilenet import scaled
from tests.models import abstract

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")
GROUPS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2))
WIDTH = 0.25


def torch_twin(torch, width=1.0, classes=1000):
    """The network in PyTorch, with torchvision's names, as its authors' table 2 lists it."""
    nn = torch.nn

    def layer(ins, outs, size=3, strides=1, groups=1):
        conv = nn.Conv2d(ins, outs, size, strides, size // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outs), nn.ReLU6())

    class Block(nn.Module):
        def __init__(self, ins, outs, expansion, strides):
            super().__init__()
            middle = ins * expansion
            expand = [layer(ins, middle, 1)] if expansion > 1 else []
            depthwise = layer(middle, middle, 3, strides, middle)
            project = nn.Conv2d(middle, outs, 1, bias=False), nn.BatchNorm2d(outs)
            self.conv = nn.Sequential(*expand, depthwise, *project)
            self.residual = strides == 1 and ins == outs

        def forward(self, x):
            return x + self.conv(x) if self.residual else self.conv(x)

    features = scaled(32, width)
    layers = [layer(3, features, strides=2)]
    for expansion, outs, blocks, strides in (*GROUPS, (6, 320, 1, 1)):
        for place in range(blocks):
            wide = scaled(outs, width)
            layers.append(Block(features, wide, expansion, strides if place == 0 else 1))
            features = wide
    twin = nn.Module()
    twin.features = nn.Sequential(*layers, layer(features, 1280, 1))
    twin.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))
    with torch.no_grad():
        for name, array in twin.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                array.normal_(0, 0.3)
            elif name.endswith("running_var") or array.ndim == 1:
                array.uniform_(0.5, 1.5)
            elif array.ndim > 1:
                array.normal_(0, (2 / array[0].numel()) ** 0.5)
    return twin.eval()


def empty(width=WIDTH, classes=1000, **options):
    """The network, every parameter zero, in evaluation."""
    module = abstract.shapes("mobilenet_v2", width=width, classes=classes, **options)
    network = abstract.filled(module, 0)
    network.eval()
    return network


def state(width=WIDTH):
    """A state dict that fits the network, of random numbers."""
    draw = np.random.default_rng(0)
    network = empty(width)
    found = {}
    for name, variable in network._torch_variables().items():
        shape = _torch.torch_shape(variable.shape)
        fan = max(1, int(np.prod(shape[1:])))
        array = draw.normal(scale=(2 / fan) ** 0.5, size=shape) if len(shape) > 1 else None
        found[name] = draw.uniform(0.5, 1.5, shape) if array is None else array
    counters = dict.fromkeys(network._torch_counters(), np.int64(3))
    return {name: np.float32(array) for name, array in found.items()} | counters


@pytest.mark.parametrize("size", [96, pytest.param(224, marks=pytest.mark.long)])
def test_published_parameters_give_the_logits_of_pytorch(size):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    twin = torch_twin(torch)
    network = empty(width=1.0)
    arrays = {name: array.numpy() for name, array in twin.state_dict().items()}
    unused = network.load_torch(arrays)
    assert len(arrays) == 314
    assert set(arrays) - set(unused) == set(network._torch_variables())
    assert all(name.endswith("num_batches_tracked") for name in unused)
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        maps = twin.features(torch.from_numpy(images).permute(0, 3, 1, 2)).mean((2, 3))
        expected = twin.classifier(maps).numpy()
    logits = jax.jit(network)(images)
    scale = abs(expected).max()
    assert abs(expected[0] - expected[1]).max() > 0.05 * scale
    np.testing.assert_allclose(logits / scale, expected / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize("output_stride", [pytest.param(16, marks=pytest.mark.long), 8])
def test_dilation_keeps_the_features_of_the_strided_network(key, output_stride):
    """Position i of stride 32 is position 32 / s * i of stride s, with all taps; so is padding."""
    strided, dilated = empty(), empty(output_stride=output_stride)
    arrays = state()
    for network in (strided, dilated):
        network.load_torch(arrays)
    images = jax.random.normal(key, (1, 100, 65, 3))

    def last(network):
        return jax.jit(lambda x: network.activations(x)["last"])(images)

    expected, found, step = last(strided), last(dilated), 32 // output_stride
    assert expected.shape[1:3] == (4, 3) and found.shape[1:3] == (
        -(-100 // output_stride),
        -(-65 // output_stride),
    )
    assert float(expected.std()) > 0.01
    np.testing.assert_allclose(found[:, ::step, ::step], expected, rtol=1e-4, atol=1e-4)


def test_only_what_follows_a_stride_that_is_left_out_is_dilated():
    def dilations(**options):
        blocks = abstract.shapes("mobilenet_v2", **options).blocks
        return [
            (block.depthwise.conv.strides, block.depthwise.conv.kernel_dilation) for block in blocks
        ]

    assert [d for _, d in dilations(output_stride=16)] == [1] * 14 + [2] * 3
    strides, dilation = zip(*dilations(output_stride=8), strict=True)
    assert dilation == (1,) * 7 + (2,) * 7 + (4,) * 3
    assert strides.count(2) == 2  # and one in the stem


def test_a_head_of_other_classes_stays():
    network = empty(classes=3)
    network.head.bias[...] = jnp.full(3, 0.5)
    unused = network.load_torch(state())
    heads = [name for name in unused if not name.endswith("num_batches_tracked")]
    assert sorted(heads) == ["classifier.1.bias", "classifier.1.weight"]
    assert (network.head.bias[...] == 0.5).all()
    assert (network.stem.norm.var[...] > 0).all()


def test_what_does_not_fit_is_named_and_nothing_is_taken():
    network, wrong = empty(), state()
    del wrong["features.0.0.weight"]
    wrong |= {"features.3.bias": np.ones(2), "features.18.1.running_var": np.ones(9)}
    with pytest.raises(ValueError, match="must be the state dict of MobileNetV2") as raised:
        network.load_torch(wrong)
    for said in (
        "features.0.0.weight is missing",
        "features.3.bias is of no layer",
        "features.18.1.running_var must have shape (1280,), got (9,)",
    ):
        assert said in str(raised.value)
    assert not any(array.any() for array in jax.tree.leaves(nnx.state(network)))


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match="output_stride must be 32, 16 or 8, got 4"):
        empty(output_stride=4)
    with pytest.raises(ValueError, match=r"width must be positive, got -1; try 0\.5"):
        empty(width=-1)
    with pytest.raises(TypeError, match="width must be a real number"):
        empty(width="wide")


def test_widths_are_multiples_of_eight():
    for width in (0.1, 0.35, 0.5, 0.75, 1.0, 1.4):
        for features in (16, 24, 32, 64, 96, 160, 320):
            rounded = scaled(features, width)
            assert rounded % 8 == 0 and rounded >= 0.9 * features * width
    assert [group[1] for group in GROUPS] == [scaled(group[1], 1.0) for group in GROUPS]


@pytest.mark.long
@pytest.mark.parametrize(("picture", "classes"), [("chelsea", range(281, 286)), ("coffee", [967])])
def test_the_published_network_knows_a_cat_and_a_coffee(picture, classes):
    """Of ImageNet's classes, 281 to 285 are cats, and 967 is an espresso."""
    path = _cache.default_dir() / "mobilenet_v2-b0353104.pth"
    if not path.is_file():
        pytest.skip(f"{path} is missing; python experiments/fetch_data.py mobilenet_v2 gets it")
    pytest.importorskip("torch")
    pictures = pytest.importorskip("skimage.data", reason="scikit-image has the pictures")
    network = empty(width=1.0)
    network.load_torch(data.read_state_dict(path))
    prepare = models.Preparation(height=224, width=224, mean=_torch.MEAN, std=_torch.STD)
    image = prepare.normalise(prepare.from_array(getattr(pictures, picture)())[None])
    shares = jax.nn.softmax(jax.jit(network)(image)[0])
    assert float(shares[np.array(classes)].sum()) > 0.9
