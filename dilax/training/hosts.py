"""Several processes as one run: who writes, and what all of them must agree on."""

import jax
import numpy as np


def join(*, coordinator: str | None = None, processes: int = 0, process: int = 0) -> None:
    """Make this process one of many; call it before anything else of JAX.

    Args:
        coordinator: `host:port` of the first process; left out, what the cluster says (Slurm, a
            TPU pod, Open MPI, Kubernetes).
        processes: how many there are; with `coordinator` only.
        process: which of them this is, from 0; with `coordinator` only.

    Raises:
        ValueError: the number of this process is not one of `processes`, or no cluster is found.
    """
    if coordinator is None:
        try:
            jax.distributed.initialize()
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"no cluster is found ({str(error).splitlines()[0]}); give coordinator, processes "
                "and process"
            ) from error
        return
    if not 0 <= process < processes:
        raise ValueError(
            f"process must be from 0 to processes - 1, received {process} of {processes} processes"
        )
    jax.distributed.initialize(coordinator, processes, process)


def writes() -> bool:
    """Whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


def anywhere(flag: bool) -> bool:
    """Whether `flag` is true in any process; all of them must ask."""
    return flag if jax.process_count() == 1 else bool(_of_all(int(flag)).any())


def same_everywhere(number: int) -> bool:
    """Whether all processes have the same `number`; all of them must ask."""
    return jax.process_count() == 1 or len(set(_of_all(number).tolist())) == 1


def meet() -> None:
    """Wait until all processes are here."""
    anywhere(False)


def _of_all(number: int) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.int32(number)))
