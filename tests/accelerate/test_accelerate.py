"""The transformation around whole programs: every construct of JAX, on either side."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import dilax
from tests.accelerate.programs import conv, gradient, loss_of, operations, pooled

pytestmark = pytest.mark.usefixtures("compile_quickly")
close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)


# --- what a program may be made of ----------------------------------------------------------------


def in_scan(x, kernel):
    def step(carry, scale):
        y = conv(x * carry, kernel)
        return carry + jnp.mean(y), y * scale

    return lax.scan(step, 1.0, jnp.arange(1.0, 4.0))


def in_while(x, kernel):
    def body(state):
        count, total = state
        return count + 1, total + jnp.sum(conv(x * count, kernel))

    return lax.while_loop(lambda state: jnp.sum(conv(x, kernel)) * 0 + state[0] < 3, body, (0, 0.0))


def in_fori(x, kernel):
    zeros = jnp.zeros(conv(x, kernel).shape)
    return lax.fori_loop(0, 3, lambda place, y: y + conv(x + place, kernel), zeros)


def in_cond(x, kernel):
    return lax.cond(x[0, 0, 0, 0] > 0, conv, lambda x, kernel: conv(-x, kernel), x, kernel)


def in_switch(x, kernel):
    return lax.switch(1, [pooled, lambda x, kernel: pooled(2 * x, kernel)], x, kernel)


@jax.custom_jvp
def with_jvp(x, kernel):
    return conv(x, kernel)


@with_jvp.defjvp
def with_jvp_rule(primals, tangents):
    """A rule that nothing but itself would give."""
    (x, kernel), (x_dot, kernel_dot) = primals, tangents
    return conv(x, kernel), 3 * conv(x_dot, kernel) + conv(x, kernel_dot)


@jax.custom_vjp
def with_vjp(x, kernel):
    return conv(x, kernel)


def with_vjp_forward(x, kernel):
    return conv(x, kernel), (x, kernel)


def with_vjp_backward(residuals, cotangent):
    return jax.vjp(conv, *residuals)[1](5 * cotangent)


with_vjp.defvjp(with_vjp_forward, with_vjp_backward)


def nested(x, kernel):
    """A custom rule in a jit in a checkpoint in a scan."""

    @jax.checkpoint
    def body(carry, scale):
        y = jax.jit(with_vjp)(x * scale, kernel) + with_jvp(x, kernel * carry)
        return carry + jnp.mean(y), jnp.sum(y)

    return lax.scan(body, 0.5, jnp.arange(1.0, 3.0))


def scoped(x, kernel):
    with jax.named_scope("somewhere"):
        unused = conv(x, kernel * 2)
        del unused
        return conv(x, kernel) + np.ones((1, 1, 1, 1))


PROGRAMS = {
    "plain": conv,
    "pool": pooled,
    "jit": jax.jit(conv),
    "checkpoint": jax.checkpoint(pooled),
    "scan": in_scan,
    "fori": in_fori,
    "cond": in_cond,
    "switch": in_switch,
    "custom_jvp": with_jvp,
    "custom_vjp": with_vjp,
    "nested": nested,
    "scoped": scoped,
}


def batched(f):
    return lambda x, kernel: jax.vmap(f, (0, None))(jnp.stack([x, 2 - x, x**2]), kernel)


def pushed(f):
    return lambda x, kernel: jax.jvp(f, (x, kernel), (jnp.cos(x), jnp.sin(kernel)))


TRANSFORMATIONS = {
    "value": lambda f: f,
    "grad": gradient,
    "vmap": batched,
    "vmap of grad": lambda f: batched(gradient(f)),
    "grad of vmap": lambda f: gradient(batched(f)),
}


PAIRS = [
    pytest.param(
        program, name, marks=() if name == "grad" or program == "pool" else pytest.mark.long
    )
    for program in PROGRAMS
    for name in TRANSFORMATIONS
]


@pytest.mark.parametrize(("program", "transformation"), PAIRS)
def test_on_either_side_of_a_transformation(program, transformation, operands):
    """Of each program its value and gradients; of one, every transformation."""
    transform, f = TRANSFORMATIONS[transformation], PROGRAMS[program]
    sides = dilax.accelerate(transform(f)), transform(dilax.accelerate(f))
    for fast in sides:
        left = operations(fast, *operands)
        assert not {"conv_general_dilated", "select_and_scatter_add"} & left.keys()
    results = jax.jit(lambda *operands: [side(*operands) for side in (*sides, transform(f))])
    *accelerated, expected = results(*operands)
    for result in accelerated:
        jax.tree.map(close, result, expected)


FORWARD = ("pool", "checkpoint", "scan", "fori", "cond", "custom_jvp")


@pytest.mark.parametrize("program", FORWARD)
def test_forward_mode(program, operands):
    f = PROGRAMS[program]
    sides = dilax.accelerate(pushed(f)), pushed(dilax.accelerate(f)), pushed(f)
    *accelerated, expected = jax.jit(lambda *operands: [side(*operands) for side in sides])(
        *operands
    )
    for result in accelerated:
        jax.tree.map(close, result, expected)


def test_while_loops(operands):
    fast = dilax.accelerate(in_while)
    jax.tree.map(close, fast(*operands), jax.jit(in_while)(*operands))
    assert operations(fast, *operands)["dilax_conv_general_dilated"] == 2


def test_second_order(operands):
    def curvature(f, x, kernel):
        return jax.jvp(jax.grad(loss_of(f), 1), (x, kernel), (x, kernel))[1]

    curved = functools.partial(curvature, pooled)
    sides = curved, dilax.accelerate(curved), functools.partial(curvature, dilax.accelerate(pooled))
    expected, *results = jax.jit(lambda *operands: [side(*operands) for side in sides])(*operands)
    for result in results:
        close(result, expected)


def test_inside_the_body_of_a_scan(operands):
    x, kernel = operands

    def through(f):
        return lax.scan(lambda carry, _: (carry, f(carry, kernel)), x, None, length=2)[1]

    close(through(jax.jit(dilax.accelerate(conv))), through(jax.jit(conv)))


def test_accelerating_twice_changes_nothing(operands):
    once = dilax.accelerate(gradient(pooled))
    twice = dilax.accelerate(once)
    assert operations(twice, *operands) == operations(once, *operands)


def test_dead_results_and_shared_equations_keep_their_types(operands):
    """The rewritten program passes JAX's own check of programs."""
    for f in PROGRAMS.values():
        with jax.enable_checks(True):
            jax.make_jaxpr(dilax.accelerate(gradient(f)))(*operands)


def test_a_custom_rule_of_zeros_and_integers(operands):
    """A backward rule may give None, and a forward rule may keep what is no float."""
    x, kernel = operands

    @jax.custom_vjp
    def scaled(x, kernel, count):
        return conv(x, kernel) * count

    scaled.defvjp(
        lambda x, kernel, count: (scaled(x, kernel, count), (x, kernel, count)),
        lambda kept, g: (jax.vjp(conv, *kept[:2])[1](g * kept[2])[0], None, None),
    )
    slope = jax.grad(lambda x: jnp.sum(dilax.accelerate(scaled)(x, kernel, 3) ** 2))(x)
    close(slope, jax.grad(lambda x: jnp.sum(scaled(x, kernel, 3) ** 2))(x))
