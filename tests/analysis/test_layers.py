"""The closed form against fields that papers publish, from the layers that they list."""

import pytest

from dilax.analysis import Layer, stack_receptive_field


def size(layers):
    return stack_receptive_field(layers).size


def vgg16(blocks=(2, 2, 3, 3, 3)):
    """Simonyan and Zisserman: blocks of 3x3 convolutions, a 2x2 pool of stride 2 after each."""
    return [
        layer for n in blocks for layer in (*[Layer((3, 3), padding=1)] * n, Layer(2, strides=2))
    ]


def wavenet(cycles=5, levels=10):
    """Van den Oord et al.: kernels of 2, dilation 1, 2, ..., 512, again and again."""
    return [Layer(2, kernel_dilation=2**level) for level in range(levels)] * cycles


def tcn(kernel_size, levels):
    """Bai, Kolter and Koltun: two causal convolutions at each of the dilations 1, 2, 4, ..."""
    return [
        Layer(kernel_size, kernel_dilation=2**level, padding="CAUSAL")
        for level in range(levels)
        for _ in range(2)
    ]


def drn_c_26():
    """Yu, Koltun and Funkhouser: a stem of 7x7, then levels of 3x3 convolutions.

    Level: (convolutions, stride of the first, dilation); a level that dilates anew begins with half
    its dilation, and the last two levels undo the grid.
    """
    stem = [Layer(7, padding=3)]
    levels = (
        (2, 1, 1),
        (2, 2, 1),
        (4, 2, 1),
        (4, 2, 1),
        (4, 1, 2),
        (4, 1, 4),
        (2, 1, 2),
        (2, 1, 1),
    )
    for number, (convolutions, stride, dilation) in enumerate(levels, 1):
        for place in range(convolutions):
            halved = number in (5, 6) and place == 0
            own = dilation // 2 if halved else dilation
            stem.append(Layer(3, strides=1 if place else stride, kernel_dilation=own))
    return stem


def test_context_module():
    """Yu and Koltun, table 1: the receptive field after each layer."""
    dilations = (1, 1, 2, 4, 8, 16, 1)
    layers = [Layer((3, 3), kernel_dilation=dilation) for dilation in dilations] + [Layer((1, 1))]
    fields = [size(layers[:n])[0] for n in range(1, 9)]
    assert fields == [3, 5, 9, 17, 33, 65, 67, 67]


def test_published_fields():
    assert size(vgg16()) == (212, 212)
    assert stack_receptive_field(vgg16()).stride == (32, 32)
    assert size(wavenet()) == (5116,)
    assert size(tcn(7, 8)) == (1 + 2 * (7 - 1) * (2**8 - 1),) == (3061,)


def test_drn():
    """By hand: what each level adds is its dilations times 2 times its stride."""
    by_level = [6, 2 * 2, 2 * (1 + 2), 2 * (2 + 4 * 3), 2 * (4 + 8 * 3), 2 * 8 * (1 + 2 * 3)]
    by_level += [2 * 8 * (2 + 4 * 3), 2 * 8 * 2 * 2, 2 * 8 * 1 * 2]
    assert size(drn_c_26()) == (1 + sum(by_level),)
    assert stack_receptive_field(drn_c_26()).stride == (8,)


def test_start_and_padding():
    field = stack_receptive_field([Layer(3, 2, 1, ((1, 0),)), Layer(3, 1, 2, ((2, 3),))])
    assert (field.size, field.stride, field.start) == ((3 + 2 * 2 * 2,), (2,), (-1 - 2 * 2,))
    assert field.padding == ((1 + 2 * 2, 0 + 3 * 2),)
    causal = stack_receptive_field(tcn(3, 4))
    assert causal.start == (1 - causal.size[0],)
    assert causal.padding == ((causal.size[0] - 1, 0),)


def test_axes_apart():
    field = stack_receptive_field([Layer((3, 5), strides=(1, 2)), Layer(3, kernel_dilation=2)])
    assert field.size == (3 + 4, 5 + 2 * 2 * 2)
    assert field.stride == (1, 2)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "layers must hold at least one Layer"),
        ([Layer((3, 3)), Layer((3,))], r"same number of window axes, got \[1, 2\]"),
        ([Layer(3, strides=2, padding="SAME")], "got 'SAME' with strides 2, which depends on"),
        ([Layer(0)], "kernel_size must be at least 1"),
        ([Layer((3, 3), strides=(1, 1, 1))], "strides has 3 entries"),
    ],
)
def test_errors(layers, message):
    with pytest.raises(ValueError, match=message):
        stack_receptive_field(layers)
