"""Flax NNX modules as pure functions of plain arrays, and transformations of such functions.

Training is written for these functions, so a training step is plain ``jax.jit`` over plain pytrees
and does not depend on the version of Flax.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from dilax._arrays import as_array, as_dtype
from dilax._checks import check_callable, check_instance

Pytree = Any

LOSS_SCALES = {"float32": 1.0, "bfloat16": 1.0, "float16": 1024.0}
"""Loss scale for each precision: float16 underflows to 0 below 6e-8, where gradients of
activations often lie."""


class Apply(Protocol):
    """A network as a pure function."""

    def __call__(
        self,
        params: Pytree,
        batch_stats: Pytree,
        inputs: Pytree,
        /,
        *,
        train: bool,
        key: Array | None = None,
        updates: Array | None = None,
    ) -> tuple[Pytree, Pytree]:
        """Map inputs to outputs and new batch statistics: for a classifier of images, floats
        ``(N, H, W, C)`` to logits ``(N, classes)``.

        With ``train``, batch normalisation uses the statistics of the batch and updates the running
        ones, and random numbers (dropout) are drawn from ``key``. ``updates`` is how often the
        running statistics were updated before: the first updates weigh more, as ``early_decay``
        says. Without it, each update has the weight that the module gives it. Without ``train``,
        the running statistics are used and returned unchanged, and nothing is random.
        """


Path = tuple[Any, ...]
"""Where an array lies in a pytree, in the keys of ``jax.tree_util``."""


class Functional(NamedTuple):
    """A module, split into a pure function and its arrays."""

    apply: Apply
    params: Pytree
    """What the optimiser updates: nested dictionaries of arrays."""
    batch_stats: Pytree
    """Running means and variances, which a forward pass in training updates; may be empty."""


def functional(module: nnx.Module, *, axis_name: str | None = None) -> Functional:
    """Split a module into a pure function and its arrays.

    Args:
        module: Maps inputs to outputs. It is not changed.
        axis_name: Mapped axis over which batch normalisation averages its statistics in training.
            It is set on every submodule that has an attribute ``axis_name``, as ``nnx.BatchNorm``
            and the modules of ``dilax.nn`` do.

    Returns:
        ``apply(params, batch_stats, inputs, *, train, key, updates)``, the parameters, the batch
        statistics.

    Raises:
        ValueError: The module holds variables other than ``nnx.Param``, ``nnx.BatchStat`` and
            random streams, which a pure step could not update.
        TypeError: ``module`` is not an ``nnx.Module``.

    >>> import jax.numpy as jnp
    >>> apply, params, batch_stats = functional(nnx.Linear(4, 10, rngs=nnx.Rngs(0)))
    >>> logits, batch_stats = apply(params, batch_stats, jnp.ones((2, 4)), train=False)
    >>> logits.shape
    (2, 10)
    """
    check_instance(module, nnx.Module, "module")
    graphdef, *states = nnx.split(module, nnx.Param, nnx.BatchStat, nnx.RngState, ...)
    params, batch_stats, streams, others = states
    if other_leaves := jax.tree_util.tree_leaves_with_path(others):
        paths = ", ".join(jax.tree_util.keystr(path) for path, _ in other_leaves)
        raise ValueError(
            "module must hold only nnx.Param and nnx.BatchStat variables and random streams, "
            f"got also {paths}."
        )

    def apply(
        param_arrays: Pytree,
        stat_arrays: Pytree,
        inputs: Pytree,
        *,
        train: bool,
        key: Array | None = None,
        updates: Array | None = None,
    ) -> tuple[Pytree, Pytree]:
        merged = nnx.merge(
            graphdef,
            _filled(params, param_arrays),
            _filled(batch_stats, stat_arrays),
            _reseeded(streams, key) if train else streams,
        )
        if train:
            merged.train()
            for _, part in nnx.iter_graph(merged):
                if isinstance(part, nnx.Rngs):  # it has a stream of any name
                    continue
                if axis_name is not None and hasattr(part, "axis_name"):
                    part.axis_name = axis_name
                if updates is not None and hasattr(part, "use_running_average"):
                    part.momentum = early_decay(part.momentum, updates)
        else:
            merged.eval()
        outputs = merged(inputs)
        return outputs, nnx.to_pure_dict(nnx.state(merged, nnx.BatchStat))

    return Functional(apply, nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats))


def early_decay(decay: ArrayLike, updates: ArrayLike) -> Array:
    r"""Reduce the decay of a moving average at its start, when what it averages changes fast.

    .. math:: d_n = \min\left(d, \frac{n}{n + 10}\right)

    The average then spans about the last tenth of all updates, until this is longer than the span
    :math:`1 / (1 - d)` of the decay, and its value before the first update has no weight.

    Args:
        decay: :math:`d`, the share of the average that an update keeps later on.
        updates: :math:`n`, the number of updates before this one.

    Source: O. Shamir and T. Zhang, "Stochastic Gradient Descent for Non-smooth Optimization", 2013,
    polynomial-decay averaging with :math:`\eta = 9`, until the decay is reached.

    >>> [round(float(early_decay(0.9, updates)), 3) for updates in (0, 10, 90, 1000)]
    [0.0, 0.5, 0.9, 0.9]
    """
    count = jnp.asarray(updates, jnp.float32)
    return jnp.minimum(jnp.float32(decay), count / (count + 10.0))


def load_into(
    module: nnx.Module,
    params: Pytree,
    batch_stats: Pytree,
    *,
    may_differ: Callable[[Path], bool] = lambda path: False,
) -> list[str]:
    """Write trained arrays into a module of the form of that which ``functional`` split.

    Args:
        module: The module.
        params: Nested dictionaries of arrays.
        batch_stats: Nested dictionaries of arrays.
        may_differ: Whether the trained array at a path may have another shape, as the head's have
            in a network with another number of classes. The module then keeps its own array.

    Returns:
        The names of the arrays that the module kept.

    Raises:
        ValueError: The arrays have other names or shapes than the module's; the message names the
            first one. The module is then unchanged.
        TypeError: ``module`` is not an ``nnx.Module``.

    >>> import jax.numpy as jnp
    >>> module = nnx.Linear(4, 10, rngs=nnx.Rngs(0))
    >>> _, params, batch_stats = functional(module)
    >>> load_into(module, jax.tree.map(jnp.zeros_like, params), batch_stats)
    []
    >>> float(abs(module.kernel[...]).max())
    0.0
    """
    check_instance(module, nnx.Module, "module")
    check_callable(may_differ, "may_differ")
    given = {"params": (nnx.Param, params), "batch_stats": (nnx.BatchStat, batch_stats)}
    loaded, kept = [], []
    for name, (kind, arrays) in given.items():
        state = nnx.state(module, kind)
        chosen, differing = _chosen(nnx.to_pure_dict(state), arrays, name, may_differ)
        loaded.append(_filled(state, chosen))
        kept += differing
    for state in loaded:
        nnx.update(module, state)
    return kept


def freeze(apply: Apply, frozen: Callable[[Path], bool]) -> Apply:
    """Exclude some parameters of a network from differentiation, which saves their gradients.

    Args:
        apply: The network.
        frozen: Whether the parameter at a path is excluded.

    Raises:
        TypeError: An argument is not a function.

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

    def stopped(path: Path, leaf: Array) -> Array:
        return jax.lax.stop_gradient(leaf) if frozen(path) else leaf

    def applied(params: Pytree, /, *others: Any, **options: Any) -> tuple[Array, Pytree]:
        return apply(jax.tree_util.tree_map_with_path(stopped, params), *others, **options)

    return applied


def keep_statistics(apply: Apply) -> Apply:
    r"""Normalise by the running statistics in training, too, and leave them as they are.

    Published parameters are then fine-tuned with the statistics that they were published with,
    which a few images, or small batches, would only disturb:

    .. math:: y = \gamma \frac{x - \mu_r}{\sqrt{\sigma_r^2 + \epsilon}} + \beta

    with the running mean and variance :math:`\mu_r` and :math:`\sigma_r^2`. The scales
    :math:`\gamma` and biases :math:`\beta` are trained. The network computes as in evaluation, so
    it drops nothing at random either.

    Args:
        apply: The network.

    Raises:
        TypeError: ``apply`` is not a function.

    >>> import jax.numpy as jnp
    >>> apply, params, stats = functional(nnx.BatchNorm(1, rngs=nnx.Rngs(0)))
    >>> x = jnp.array([[1.0], [3.0]])
    >>> y, kept = keep_statistics(apply)(params, stats, x, train=True)
    >>> y.round(2).ravel().tolist(), kept["mean"].item()
    ([1.0, 3.0], 0.0)
    """
    check_callable(apply, "apply")

    def applied(params: Pytree, /, *others: Any, train: bool, **options: Any) -> Any:
        return apply(params, *others, train=False, **options)

    return applied


def mean_of_mirrored(apply: Apply) -> Apply:
    r"""Average the logits of each image and its mirror image.

    .. math:: z(x) = \frac{1}{2} (f(x) + f(x \text{ left to right}))

    Raises:
        TypeError: ``apply`` is not a function.

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
        logits, updated = apply(params, batch_stats, images, **options)
        mirrored, _ = apply(params, batch_stats, images[:, :, ::-1], **options)
        return (logits + mirrored) / 2, updated

    return applied


def compute_in(dtype: DTypeLike, apply: Apply) -> Apply:
    """Compute a network in ``dtype``, with float32 parameters, statistics and outputs.

    Raises:
        TypeError: ``dtype`` is not a floating-point type, or ``apply`` not a function.

    Source: P. Micikevicius et al., "Mixed Precision Training", 2018.

    >>> def double(params, batch_stats, images, *, train, key=None):
    ...     return images * params["two"], batch_stats
    >>> half = compute_in(jnp.bfloat16, double)
    >>> half({"two": jnp.float32(2)}, {}, jnp.float32(1.001), train=False)[0].item()
    2.0
    """
    dtype = as_dtype(dtype, "dtype")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"dtype must be a floating-point type, got {dtype}.")
    check_callable(apply, "apply")

    def cast(tree: Pytree, to: Any) -> Pytree:
        return jax.tree.map(
            lambda leaf: leaf.astype(to) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
        )

    def applied(
        params: Pytree, batch_stats: Pytree, inputs: Pytree, /, **options: Any
    ) -> tuple[Pytree, Pytree]:
        outputs, updated = apply(cast(params, dtype), batch_stats, cast(inputs, dtype), **options)
        kept = jax.tree.map(lambda new, old: new.astype(old.dtype), updated, batch_stats)
        return cast(outputs, jnp.float32), kept

    return applied


def _chosen(
    own: Pytree, arrays: Pytree, kind: str, may_differ: Callable[[Path], bool]
) -> tuple[Pytree, list[str]]:
    """Put trained arrays in the places of a module's own; beside them, the names of those kept."""
    trained = {
        _name(path): as_array(leaf, f"each of {kind}")
        for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)
    }
    leaves, structure = jax.tree_util.tree_flatten_with_path(own)
    chosen, kept = [], []
    for path, leaf in leaves:
        name = _name(path)
        if name not in trained:
            raise ValueError(
                f"{kind} must hold {name} of shape {leaf.shape}, as the module does, got none."
            )
        array = trained.pop(name)
        if array.shape != leaf.shape and not may_differ(path):
            raise ValueError(
                f"{name} of {kind} must have the module's shape {leaf.shape}, got {array.shape}."
            )
        chosen.append(array if array.shape == leaf.shape else leaf)
        kept += [name] if array.shape != leaf.shape else []
    if trained:
        raise ValueError(
            f"{kind} must hold only arrays that the module has, got also {min(trained)}."
        )
    return jax.tree.unflatten(structure, chosen), kept


def _name(path: Path) -> str:
    """Write a path as attributes: ``blocks.0.kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _filled(state: nnx.State, arrays: Pytree) -> nnx.State:
    """Copy ``state``, with ``arrays`` as its values."""
    filled = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(filled, arrays)
    return filled


def _reseeded(streams: nnx.State, key: Array | None) -> nnx.State:
    """Reseed random streams from ``key``, each with a key of its own."""
    leaves, structure = jax.tree.flatten(nnx.to_pure_dict(streams))
    if not leaves:
        return streams
    if key is None:
        raise ValueError("key must be given where a network draws random numbers, got None.")
    seeded = [
        jax.random.fold_in(key, place)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.zeros_like(leaf)
        for place, leaf in enumerate(leaves)
    ]
    return _filled(streams, jax.tree.unflatten(structure, seeded))
