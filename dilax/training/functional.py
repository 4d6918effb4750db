"""A Flax NNX module as a pure function and two plain dictionaries of arrays.

Everything after this file is written for the function and the dictionaries, so a training step is
plain `jax.jit` over plain pytrees and does not care which version of Flax made the module.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from dilax._arrays import as_array
from dilax._checks import check_callable, check_instance

Pytree = Any


class Apply(Protocol):
    """A network as a pure function."""

    def __call__(
        self,
        params: Pytree,
        batch_stats: Pytree,
        images: Array,
        /,
        *,
        train: bool,
        key: Array | None = None,
    ) -> tuple[Array, Pytree]:
        """Map float images `(N, H, W, C)` to logits `(N, classes)` and new batch statistics.

        With `train` the batch is normalised by its own statistics and the running ones move on,
        and what the network draws (dropout, random rates) is drawn from `key`; without it the
        running ones are used and returned unchanged, and nothing is drawn.
        """


Path = tuple[Any, ...]
"""Where an array lies in a pytree, in the keys of `jax.tree_util`."""


class Functional(NamedTuple):
    """What `functional` takes a module apart into."""

    apply: Apply
    params: Pytree
    """What the optimiser changes: nested dictionaries of arrays."""
    batch_stats: Pytree
    """What a forward pass in training changes: running means and variances; may be empty."""


def functional(module: nnx.Module, *, axis_name: str | None = None) -> Functional:
    """Take a module apart into a pure function and its arrays.

    Args:
        module: maps images `(N, H, W, C)` to logits. It is left as it is.
        axis_name: mapped axis that batch normalisation takes its statistics over in training:
            given to every part of the module that has an attribute of this name, as
            `nnx.BatchNorm` and the modules of `dilax.nn` do.

    Returns:
        `apply(params, batch_stats, images, *, train, key)`, the parameters, the batch statistics.

    Raises:
        ValueError: the module holds variables other than `nnx.Param`, `nnx.BatchStat` and random
            streams. A pure step would freeze them at their present value.

    >>> import jax.numpy as jnp
    >>> apply, params, batch_stats = functional(nnx.Linear(4, 10, rngs=nnx.Rngs(0)))
    >>> logits, batch_stats = apply(params, batch_stats, jnp.ones((2, 4)), train=False)
    >>> logits.shape
    (2, 10)
    """
    check_instance(module, nnx.Module, "module")
    graphdef, *states = nnx.split(module, nnx.Param, nnx.BatchStat, nnx.RngState, ...)
    params, batch_stats, streams, rest = states
    _refuse_other_state(rest)

    def apply(
        param_arrays: Pytree,
        stat_arrays: Pytree,
        images: Array,
        *,
        train: bool,
        key: Array | None = None,
    ) -> tuple[Array, Pytree]:
        merged = nnx.merge(
            graphdef,
            _filled(params, param_arrays),
            _filled(batch_stats, stat_arrays),
            _drawn(streams, key) if train else streams,
        )
        if train:
            merged.train()
            _normalise_over(axis_name, merged)
        else:
            merged.eval()
        logits = merged(images)
        return logits, nnx.to_pure_dict(nnx.state(merged, nnx.BatchStat))

    return Functional(apply, nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats))


def freeze(apply: Apply, frozen: Callable[[Path], bool]) -> Apply:
    """Make some parameters of a network constants to its gradient, which then costs less.

    Args:
        apply: the network.
        frozen: whether a parameter is one, by its path.

    >>> import jax.numpy as jnp
    >>> apply, params, stats = functional(nnx.Linear(4, 10, rngs=nnx.Rngs(0)))
    >>> apply = freeze(apply, lambda path: path[-1].key == "kernel")
    >>> loss = lambda params: apply(params, stats, jnp.ones((1, 4)), train=True)[0].sum()
    >>> gradient = jax.grad(loss)(params)
    >>> float(gradient["kernel"].sum()), float(gradient["bias"].sum())
    (0.0, 10.0)
    """
    check_callable(apply, "apply")
    check_callable(frozen, "frozen")

    def held(path: Path, leaf: Array) -> Array:
        return jax.lax.stop_gradient(leaf) if frozen(path) else leaf

    def applied(params: Pytree, /, *others: Any, **options: Any) -> tuple[Array, Pytree]:
        return apply(jax.tree_util.tree_map_with_path(held, params), *others, **options)

    return applied


def mean_of_mirrored(apply: Apply) -> Apply:
    r"""Make a network predict with an image and its mirror image.

    .. math:: z(x) = \frac{1}{2} (f(x) + f(x \text{ left to right}))

    >>> import jax.numpy as jnp
    >>> def first(params, batch_stats, images, *, train, key=None):
    ...     return images[:, 0, 0], batch_stats
    >>> apply = mean_of_mirrored(first)
    >>> apply({}, {}, jnp.arange(4.0).reshape(1, 1, 4, 1), train=False)[0].item()
    1.5
    """
    check_callable(apply, "apply")

    def applied(
        params: Pytree, batch_stats: Pytree, images: Array, /, **options: Any
    ) -> tuple[Array, Pytree]:
        logits, moved = apply(params, batch_stats, images, **options)
        mirrored, _ = apply(params, batch_stats, images[:, :, ::-1], **options)
        return (logits + mirrored) / 2, moved

    return applied


def load_into(module: nnx.Module, params: Pytree, batch_stats: Pytree) -> None:
    """Write trained arrays back into the module that `functional` took apart.

    Raises:
        ValueError: the arrays are not those of such a module. It is then as it was.
        TypeError: `module` is none.

    >>> import jax.numpy as jnp
    >>> module = nnx.Linear(4, 10, rngs=nnx.Rngs(0))
    >>> _, params, batch_stats = functional(module)
    >>> load_into(module, jax.tree.map(jnp.zeros_like, params), batch_stats)
    >>> float(abs(module.kernel[...]).max())
    0.0
    """
    check_instance(module, nnx.Module, "module")
    given = {"params": (nnx.Param, params), "batch_stats": (nnx.BatchStat, batch_stats)}
    for name, (kind, arrays) in given.items():
        _check_alike(nnx.to_pure_dict(nnx.state(module, kind)), arrays, name)
    for kind, arrays in given.values():
        nnx.update(module, _filled(nnx.state(module, kind), arrays))


def _check_alike(own: Pytree, arrays: Pytree, name: str) -> None:
    """Refuse arrays of other names or shapes than a module's own."""
    structures = [jax.tree.structure(tree) for tree in (own, arrays)]
    shapes = [[jnp.shape(leaf) for leaf in jax.tree.leaves(own)]]
    shapes.append([as_array(leaf, f"each of {name}").shape for leaf in jax.tree.leaves(arrays)])
    if [structures[0], shapes[0]] != [structures[1], shapes[1]]:
        raise ValueError(
            f"{name} must be those of the module, {structures[0]} of shapes {shapes[0]}, received "
            f"{structures[1]} of shapes {shapes[1]}"
        )


def _filled(state: nnx.State, arrays: Pytree) -> nnx.State:
    """Give a copy of `state` that holds `arrays`."""
    filled = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(filled, arrays)
    return filled


def _drawn(streams: nnx.State, key: Array | None) -> nnx.State:
    """Give random streams that start anew from `key`, each in its own way."""
    leaves, structure = jax.tree.flatten(nnx.to_pure_dict(streams))
    if not leaves:
        return streams
    if key is None:
        raise ValueError("the network draws random numbers in training; required: key")
    started = [
        jax.random.fold_in(key, place)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.zeros_like(leaf)
        for place, leaf in enumerate(leaves)
    ]
    return _filled(streams, jax.tree.unflatten(structure, started))


def _normalise_over(axis_name: str | None, module: nnx.Module) -> None:
    if axis_name is None:
        return
    for _, part in nnx.iter_graph(module):
        if hasattr(part, "axis_name"):
            part.axis_name = axis_name


def _refuse_other_state(rest: nnx.State) -> None:
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(rest)]
    if paths:
        raise ValueError(
            "module must hold only nnx.Param and nnx.BatchStat variables and random streams, "
            f"received also {', '.join(paths)}"
        )
