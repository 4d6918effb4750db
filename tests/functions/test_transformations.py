"""Every transformation of JAX gives the same results with every algorithm as with lax.

One table of transformations. Each turns a convolution ``f(x, kernel)`` into another function of the
same two arrays, so one test can ask both convolutions for it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

import dilax
from tests import cases

pytestmark = pytest.mark.usefixtures("compile_quickly")
WINDOW = {"strides": (1, 2), "padding": ((1, 0), (2, 1)), "kernel_dilation": (2, 1)}
SUBJECTS = {
    "grouped": ((2, 5, 6, 4), (3, 2, 2, 6), 2),
    "depthwise": ((2, 6, 5, 3), (2, 3, 1, 6), 3),
}
ALGORITHMS = {
    "per_group": dilax.algorithms.per_group,
    "lax": dilax.algorithms.lax,
    "shift_and_add": dilax.algorithms.shift_and_add,
    "im2col": dilax.algorithms.im2col,
    "default": None,
}
# On CPU the default of a depthwise convolution is shift_and_add, until vmap makes groups larger.
PAIRS = (
    ("grouped", "per_group"),
    ("grouped", "lax"),
    ("grouped", "shift_and_add"),
    ("grouped", "im2col"),
    ("depthwise", "default"),
)


def ours(x, kernel, *, groups: int, algorithm):
    return dilax.conv(x, kernel, **WINDOW, feature_group_count=groups, algorithm=algorithm)


def theirs(x, kernel, *, groups: int):
    return lax.conv_general_dilated(
        x,
        kernel,
        WINDOW["strides"],
        WINDOW["padding"],
        rhs_dilation=WINDOW["kernel_dilation"],
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def scalar(f):
    """A loss that is no longer bilinear, so that second derivatives mix everything."""
    return lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel)))


def stacked(array, axis: int = 0):
    """Three different arrays in one, along a new axis."""
    return jnp.stack([array, 2 - array, array**2], axis)


def hessian_vector(outer, inner):
    """Derivative of the gradient along a direction, with ``outer`` over ``inner`` mode."""

    def product(f, x, kernel):
        direction = (jnp.cos(x), jnp.cos(kernel))
        gradient = jax.grad(scalar(f), (0, 1))
        if inner is jax.jvp:
            return jax.grad(lambda *a: jax.jvp(scalar(f), a, direction)[1], (0, 1))(x, kernel)
        if outer is jax.jvp:
            return jax.jvp(gradient, (x, kernel), direction)[1]
        slope = functools.partial(slope_along, gradient, direction)
        return jax.grad(slope, (0, 1))(x, kernel)

    return product


def slope_along(gradient, direction, x, kernel):
    return sum(map(jnp.vdot, gradient(x, kernel), direction))


def third_derivative(f, x, kernel):
    def curve(t):
        return scalar(f)(x + t * jnp.cos(x), kernel + t * jnp.cos(kernel))

    return jax.grad(jax.grad(jax.grad(curve)))(0.1)


def through_scan(f, x, kernel):
    def step(carry, scale):
        y = f(carry * scale, kernel)
        return carry + jnp.mean(y), y

    return lax.scan(step, x, jnp.arange(1.0, 4.0))


def gradient_through_scan(f, x, kernel):
    def loss(x, kernel):
        carry, ys = through_scan(f, x, kernel)
        return jnp.sum(jnp.sin(carry)) + jnp.sum(ys**2)

    return jax.grad(loss, (0, 1))(x, kernel)


def per_example_gradients(f, x, kernel):
    return jax.vmap(jax.grad(scalar(f), 1), (0, None))(x[:, None], kernel)


def linear_transposes(f, x, kernel):
    y = jnp.sin(f(x, kernel))
    to_x = jax.linear_transpose(lambda x: f(x, kernel), x)
    to_kernel = jax.linear_transpose(lambda kernel: f(x, kernel), kernel)
    return to_x(y), to_kernel(y)


def linearized(f, x, kernel):
    y, push = jax.linearize(f, x, kernel)
    return y, push(jnp.cos(x), jnp.cos(kernel))


TRANSFORMATIONS = {
    "value": lambda f, x, k: f(x, k),
    "grad": lambda f, x, k: jax.value_and_grad(scalar(f), (0, 1))(x, k),
    "jvp": lambda f, x, k: jax.jvp(f, (x, k), (jnp.cos(x), jnp.sin(k))),
    "jvp_of_x": lambda f, x, k: jax.jvp(lambda x: f(x, k), (x,), (jnp.cos(x),)),
    "jvp_of_kernel": lambda f, x, k: jax.jvp(lambda k: f(x, k), (k,), (jnp.cos(k),)),
    "vjp": lambda f, x, k: jax.vjp(f, x, k)[1](jnp.cos(f(x, k))),
    "jacfwd_of_x": lambda f, x, k: jax.jacfwd(f, 0)(x, k),
    "jacrev_of_x": lambda f, x, k: jax.jacrev(f, 0)(x, k),
    "jacfwd_of_kernel": lambda f, x, k: jax.jacfwd(f, 1)(x, k),
    "jacrev_of_kernel": lambda f, x, k: jax.jacrev(f, 1)(x, k),
    "hessian_of_kernel": lambda f, x, k: jax.hessian(scalar(f), 1)(x, k),
    "forward_over_reverse": hessian_vector(jax.jvp, jax.grad),
    "reverse_over_forward": hessian_vector(jax.grad, jax.jvp),
    "reverse_over_reverse": hessian_vector(jax.grad, jax.grad),
    "third_derivative": third_derivative,
    "linearize": linearized,
    "linear_transpose": linear_transposes,
    "vmap_x": lambda f, x, k: jax.vmap(f, (0, None))(stacked(x), k),
    "vmap_kernel": lambda f, x, k: jax.vmap(f, (None, 0))(x, stacked(k)),
    "vmap_both": lambda f, x, k: jax.vmap(f)(stacked(x), stacked(k)),
    "vmap_inner_axes": lambda f, x, k: jax.vmap(f, (2, 1), 3)(stacked(x, 2), stacked(k, 1)),
    "vmap_last_axes": lambda f, x, k: jax.vmap(f, (-1, -1), -1)(stacked(x, -1), stacked(k, -1)),
    "vmap_last_axis_of_x": lambda f, x, k: jax.vmap(f, (-1, None))(stacked(x, -1), k),
    "vmap_of_one": lambda f, x, k: jax.vmap(f)(x[None], k[None]),
    "vmap_nested": lambda f, x, k: jax.vmap(jax.vmap(f, (None, 0)), (0, None))(
        stacked(x), stacked(k)
    ),
    "vmap_nested_over_kernel": lambda f, x, k: jax.vmap(jax.vmap(f, (1, 0)), (None, 1))(
        stacked(x, 1), stacked(stacked(k))
    ),
    "vmap_of_grad": lambda f, x, k: jax.vmap(jax.grad(scalar(f), (0, 1)))(stacked(x), stacked(k)),
    "grad_of_vmap": lambda f, x, k: jax.grad(scalar(jax.vmap(f, (None, 0))), (0, 1))(x, stacked(k)),
    "vmap_of_jvp": lambda f, x, k: jax.vmap(lambda t: jax.jvp(f, (x, k), (t, k)))(stacked(x)),
    "per_example_gradients": per_example_gradients,
    "scan": through_scan,
    "gradient_through_scan": gradient_through_scan,
    "remat": lambda f, x, k: jax.grad(scalar(jax.checkpoint(f)), (0, 1))(x, k),
    "cond": lambda f, x, k: lax.cond(x[0, 0, 0, 0] < 9, f, lambda x, k: f(-x, k), x, k),
}


@functools.cache
def operands(subject: str) -> tuple[np.ndarray, np.ndarray]:
    x_shape, kernel_shape, _ = SUBJECTS[subject]
    return tuple(cases.draw(x_shape, kernel_shape, seed=3))


@functools.cache
def by_lax(subject: str, name: str):
    f = functools.partial(theirs, groups=SUBJECTS[subject][2])
    return jax.jit(functools.partial(TRANSFORMATIONS[name], f))(*operands(subject))


@pytest.mark.parametrize(("name", "pair"), cases.crossed(PAIRS, list(TRANSFORMATIONS)))
def test_transformation_equals_that_of_lax(name: str, pair: tuple[str, str], double) -> None:
    subject, algorithm = pair
    f = functools.partial(ours, groups=SUBJECTS[subject][2], algorithm=ALGORITHMS[algorithm])
    result = jax.jit(functools.partial(TRANSFORMATIONS[name], f))(*operands(subject))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
    jax.tree.map(close, result, by_lax(subject, name))


@pytest.mark.parametrize("name", ["value", "grad", "vmap_nested", "forward_over_reverse"])
def test_transformation_outside_jit(name: str, double) -> None:
    f = functools.partial(ours, groups=3, algorithm=dilax.algorithms.shift_and_add)
    result = TRANSFORMATIONS[name](f, *map(jnp.asarray, operands("depthwise")))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
    jax.tree.map(close, result, by_lax("depthwise", name))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_forward_and_reverse_jacobians_agree(algorithm: str, double) -> None:
    f = functools.partial(ours, groups=2, algorithm=ALGORITHMS[algorithm])
    x, kernel = operands("grouped")

    @jax.jit
    def jacobians(x, kernel):
        return [mode(f, (0, 1))(x, kernel) for mode in (jax.jacfwd, jax.jacrev)]

    close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)
    jax.tree.map(close, *jacobians(x, kernel))


@pytest.mark.parametrize(("subject", "algorithm"), PAIRS)
def test_exports_for_every_platform(subject: str, algorithm: str) -> None:
    x_shape, kernel_shape, groups = SUBJECTS[subject]
    f = functools.partial(ours, groups=groups, algorithm=ALGORITHMS[algorithm])
    gradient = jax.jit(jax.grad(scalar(f), (0, 1)))
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (x_shape, kernel_shape)]
    exported = export.export(gradient, platforms=["cpu", "cuda", "tpu"])(*shapes)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert [out.shape for out in exported.out_avals] == [x_shape, kernel_shape]


def test_lowers_ahead_of_time() -> None:
    f = functools.partial(ours, groups=3, algorithm=None)
    x, kernel = (jnp.asarray(array, jnp.float32) for array in operands("depthwise"))
    compiled = jax.jit(f).lower(x, kernel).compile()
    np.testing.assert_array_equal(compiled(x, kernel), jax.jit(f)(x, kernel))


@pytest.mark.parametrize(
    ("algorithm", "in_axes"), cases.crossed([(0, 0), (0, None), (None, 0)], list(ALGORITHMS))
)
def test_vmap_over_no_examples_gives_none(algorithm, in_axes):
    shapes = ((2, 6, 5, 4), (3, 2, 1, 8))
    x, kernel = (
        jnp.ones((0, *shape) if axis == 0 else shape)
        for shape, axis in zip(shapes, in_axes, strict=True)
    )

    def depthwise(x, kernel):
        return dilax.depthwise_conv(x, kernel, algorithm=ALGORITHMS[algorithm])

    assert jax.vmap(depthwise, in_axes)(x, kernel).shape == (0, 2, 6, 5, 8)


def test_gradients_export_with_a_batch_of_any_size():
    (batch,) = export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, 6, 5, 4), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 2, 1, 4), jnp.float32)

    def loss(kernel, x):
        return (dilax.depthwise_conv(x, kernel, kernel_dilation=2) ** 2).sum()

    exported = export.export(jax.jit(jax.grad(loss)))(kernel, x)
    arrays = jnp.ones((3, 2, 1, 4)), jnp.ones((3, 6, 5, 4))
    np.testing.assert_allclose(exported.call(*arrays), jax.grad(loss)(*arrays), rtol=1e-5)


@pytest.mark.parametrize("mapped", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", ["conv", "input_gradient", "kernel_gradient"])
def test_any_operand_of_a_pass_may_be_mapped(name, groups, mapped):
    """A pass of mapped operands, as of vmap over one operand of a gradient, is a loop of passes."""
    shapes = (2, 5, 6, 4), (3, 2, 4 // groups, 6), (2, 5, 6, 6)
    x, kernel, g = map(jnp.float32, cases.draw(*((3, *shape) for shape in shapes)))
    conv = functools.partial(dilax.conv, feature_group_count=groups)
    passes = {
        "conv": (conv, (x, kernel)),
        "input_gradient": (lambda g, w: jax.vjp(lambda x: conv(x, w), x[0])[1](g)[0], (g, kernel)),
        "kernel_gradient": (lambda x, g: jax.vjp(lambda w: conv(x, w), kernel[0])[1](g)[0], (x, g)),
    }
    function, operands = passes[name]
    given = [one if axis == 0 else one[0] for one, axis in zip(operands, mapped, strict=True)]
    found = jax.vmap(function, mapped)(*given)
    for place in range(3):
        each = [
            one[place] if axis == 0 else one[0] for one, axis in zip(operands, mapped, strict=True)
        ]
        np.testing.assert_allclose(found[place], function(*each), rtol=1e-5, atol=1e-5)
