"""The worker that runs one contestant on one network, and times it. Its requests:

{"do": "prepare", "network": "ASPP", "batch": 4, "side": 33}
    ->  {"seconds": 1.5, "output": array, "about": {...}}
{"do": "time", "warm_up": 0.05, "seconds": 0.1}  ->  {"milliseconds": 1.25}
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from contestants import timed

FORMS = {
    "stock JAX": "stock",
    "dilax.accelerate": "accelerated",
    "dilax.inference.compile": "compiled",
}
"""The contestants that run on JAX; others run in PyTorch or from ONNX files."""


class Worker:
    """The state of the process between requests: one network, compiled."""

    PRELOAD = "forward.worker"

    def __init__(self, name: str) -> None:
        self.name = name
        self.call: Callable[[], Any] = lambda: None

    def prepare(self, network: str, batch: int, side: int) -> dict[str, Any]:
        """Compile a network; return what it makes of random images, and the seconds it took."""
        from forward import by_jax

        shape = (batch, side, side, by_jax.CHANNELS.get(network, 3))
        images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        started = time.perf_counter()
        if self.name in FORMS:
            self.call, about = by_jax.prepare(FORMS[self.name], network, images)
        else:
            from forward import by_torch

            self.call, about = by_torch.prepare(self.name, network, images)
        output = np.asarray(self.call())
        return {"seconds": time.perf_counter() - started, "output": output, "about": about}

    def time(self, warm_up: float, seconds: float) -> dict[str, float]:
        """Return the median milliseconds of calls for ``seconds``, after ``warm_up`` seconds."""
        timed(self.call, warm_up)
        return {"milliseconds": 1000 * float(np.median(timed(self.call, seconds)))}
