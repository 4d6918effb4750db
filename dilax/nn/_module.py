"""Base classes of the modules, and the checks and parameters that modules share.

A new module names its base class, draws its parameters, and calls one function of dilax on them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from dilax._arrays import as_array, as_dtype, as_type
from dilax._checks import LONGEST, as_python, check_callable, check_instance, entries, integer
from dilax._functions import BatchNormParams
from dilax.algorithms import Algorithm
from dilax.algorithms._algorithm import check_algorithm
from dilax.geometry import canonical_tuple
from dilax.nn._flax import nnx
from dilax.nn._pickling import Picklable

Initializer = jax.nn.initializers.Initializer

KERNEL_INIT = jax.nn.initializers.lecun_normal()
ZEROS = jax.nn.initializers.zeros


class Module(Picklable, nnx.Module):
    """Base class, which holds the number of in-features, dtype, precision and algorithm."""

    def __init__(
        self,
        in_features: int,
        *,
        dtype: DTypeLike | None,
        precision: jax.lax.PrecisionLike,
        algorithm: Algorithm | None,
    ) -> None:
        check_sizes(in_features=in_features)
        check_algorithm(algorithm)
        if dtype is not None:
            as_dtype(dtype, "dtype")
        self.in_features, self.dtype = in_features, dtype
        self.precision, self.algorithm = precision, algorithm

    def _options(self, *names: str) -> dict[str, Any]:
        """Attributes of these names, and how to compute, as a function's keyword arguments."""
        return {name: getattr(self, name) for name in (*names, "precision", "algorithm")}

    def _cast(self, x: ArrayLike, *params: jax.Array) -> list[jax.Array]:
        """The input, which must have ``in_features``, and parameters, in the type to compute in."""
        arrays = [as_array(x, "x"), *params]
        check_input(arrays[0], self.in_features)
        dtype = jnp.result_type(*arrays) if self.dtype is None else self.dtype
        return [as_type(array, dtype) for array in arrays]


class NormalisedModule(Module):
    """Base class of modules with batch normalisation, which also holds its options."""

    def __init__(
        self,
        in_features: int,
        *,
        use_running_average: bool,
        momentum: float,
        epsilon: float,
        axis_name: str | None,
        dtype: DTypeLike | None,
        precision: jax.lax.PrecisionLike,
        algorithm: Algorithm | None,
    ) -> None:
        super().__init__(in_features, dtype=dtype, precision=precision, algorithm=algorithm)
        self.use_running_average, self.momentum = use_running_average, momentum
        self.epsilon, self.axis_name = epsilon, axis_name

    def _apply(
        self, function: Callable[..., Any], x: ArrayLike, params: Any, **options: Any
    ) -> jax.Array:
        """Call ``function(x, params, ...) -> (y, params)``, and store the statistics it moved.

        ``params`` has kernels, and normalisations as ``norm_variables`` gives them, in tuples and
        lists.
        """
        leaves, structure = jax.tree.flatten(params, is_leaf=_is_leaf)
        x, *cast = self._cast(x, *(leaf for leaf in leaves if not _is_norm(leaf)))
        others = iter(cast)
        arrays = [read_norm(leaf) if _is_norm(leaf) else next(others) for leaf in leaves]
        y, moved = function(
            x,
            jax.tree.unflatten(structure, arrays),
            **options,
            **self._options("use_running_average", "momentum", "epsilon", "axis_name"),
        )
        if not self.use_running_average:
            norms = filter(_is_norm, jax.tree.leaves(moved, is_leaf=_is_norm))
            for variables, norm in zip(filter(_is_norm, leaves), norms, strict=True):
                variables.mean[...], variables.var[...] = norm.mean, norm.var
        return y


class Norm(Picklable, nnx.Module):
    """Batch normalisation's scale, bias and running statistics, for a module that holds several."""

    def __init__(self, features: int, param_dtype: DTypeLike) -> None:
        self.scale, self.bias, self.mean, self.var = new_norm(features, param_dtype)


def new_norm(features: int, param_dtype: DTypeLike) -> tuple[Any, ...]:
    """Scale, bias, running mean and variance as variables, which leave their input as it is."""
    ones, zeros = jnp.ones(features, param_dtype), jnp.zeros(features, param_dtype)
    return (
        nnx.Param(ones),
        nnx.Param(zeros),
        nnx.BatchStat(jnp.zeros(features, jnp.float32)),
        nnx.BatchStat(jnp.ones(features, jnp.float32)),
    )


def norm_variables(module: Any) -> BatchNormParams:
    """The variables of a module that holds a normalisation, in the places of their arrays."""
    return BatchNormParams(module.scale, module.bias, module.mean, module.var)


def read_norm(variables: BatchNormParams) -> BatchNormParams:
    """The arrays of a normalisation's variables."""
    return BatchNormParams(*(variable[...] for variable in variables))


def parameter(
    initializer: Any,
    rngs: nnx.Rngs,
    shape: tuple[int, ...],
    param_dtype: DTypeLike,
    *,
    name: str = "kernel_init",
) -> nnx.Param:
    """Draw a parameter from the stream ``params``; ``name`` is the initialiser's, in errors."""
    check_callable(initializer, name)
    check_instance(rngs, nnx.Rngs, "rngs")
    return nnx.Param(initializer(rngs.params(), shape, as_dtype(param_dtype, "param_dtype")))


def window_size(kernel_size: Sequence[int], name: str = "kernel_size") -> tuple[int, ...]:
    """Return ``kernel_size`` as a tuple of one to three integers; refuse a bare integer.

    Raises:
        TypeError: ``kernel_size`` is no sequence of integers.
        ValueError: ``kernel_size`` does not have one to three positive entries.
    """
    try:
        size = operator.index(kernel_size)  # type: ignore[arg-type]
    except TypeError:
        given = entries(kernel_size, name, "integers")
    else:
        raise TypeError(
            f"{name} must be a sequence with one entry for each of 1 to 3 window axes, got {size}; "
            f"for two axes write ({size}, {size})."
        )
    if not 1 <= len(given) <= 3:
        raise ValueError(f"{name} must have one entry for each of 1 to 3 window axes, got {given}.")
    return canonical_tuple(given, len(given), name)


def plain_padding(padding: Any) -> Any:
    """``padding`` without arrays and lists, which a module would hold as data, not as an option."""
    plain = as_python(padding)
    if isinstance(plain, str) or not isinstance(plain, Sequence):
        return plain
    return tuple(map(plain_padding, plain))


def branch_dilations(
    kernel_dilation: Sequence[int | Sequence[int]], rank: int, name: str = "kernel_dilation"
) -> tuple[tuple[int, ...], ...]:
    """Each of several dilations as an integer for every window axis."""
    dilations = entries(kernel_dilation, name, "dilations")
    return tuple(canonical_tuple(dilation, rank, name) for dilation in dilations)


def check_sizes(**sizes: int) -> None:
    """Refuse numbers of features or taps that are not positive integers of 32 bits."""
    for name, size in sizes.items():
        integer(size, name, minimum=1, maximum=LONGEST)


def check_input(x: jax.Array, in_features: int) -> None:
    """Refuse an input whose number of features is not ``in_features``.

    A depthwise kernel would accept a divisor of that number, as if the channel multiplier were
    above one.
    """
    if x.ndim < 1 or x.shape[-1] != in_features:
        raise ValueError(
            f"x must have {in_features} features along its last axis (in_features), got shape "
            f"{x.shape}."
        )


def _is_leaf(node: Any) -> bool:
    """Whether it is no tuple or list of others; what a quantiser makes of a kernel is one leaf."""
    return _is_norm(node) or not isinstance(node, tuple | list)


def _is_norm(node: Any) -> bool:
    return isinstance(node, BatchNormParams)
