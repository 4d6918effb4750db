"""What XLA makes of convolutions on a GPU: compiled for an H100 and an A100, without one.

    pip install -e ".[train,aot]"
    JAX_PLATFORMS=cpu python experiments/benchmarks/compiled_for_gpu.py

Each pass of each convolution is compiled by ``lax`` and as dilax chooses on NVIDIA's GPUs. The
record says which functions of cuDNN the program calls, and with which windows. Nothing is run or
timed.
"""

import dataclasses
import functools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import benchmark
import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import dilax
from dilax.algorithms import Algorithm

PLUGIN = "jax_cuda13_plugin"
SHARED: dict[str, float] = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "threads_per_core_limit": 2048,
    "shared_memory_per_block": 48 << 10,
    "registers_per_core_limit": 1 << 16,
    "registers_per_block_limit": 1 << 16,
    "block_dim_limit_x": (1 << 31) - 1,
    "block_dim_limit_y": (1 << 16) - 1,
    "block_dim_limit_z": (1 << 16) - 1,
    "device_memory_size": 80 << 30,
}
TARGETS: dict[str, dict[str, float]] = {
    "H100": {
        "shared_memory_per_core": 228 << 10,
        "shared_memory_per_block_optin": 227 << 10,
        "core_count": 132,
        "fpus_per_core": 128,
        "memory_bandwidth": 3352320000000,
        "l2_cache_size": 50 << 20,
        "clock_rate_ghz": 1.98,
    },
    "A100": {
        "shared_memory_per_core": 164 << 10,
        "shared_memory_per_block_optin": 163 << 10,
        "core_count": 108,
        "fpus_per_core": 64,
        "memory_bandwidth": 2039000000000,
        "l2_cache_size": 40 << 20,
        "clock_rate_ghz": 1.41,
    },
}
"""Facts that XLA has to know of a device: NVIDIA, "A100 Tensor Core GPU architecture", 2020, and
"H100 Tensor Core GPU architecture", 2022."""
CAPABILITIES = {"H100": 9, "A100": 8}
"""Major version of the compute capability."""
VERSIONS = {"dnn_version_info": (9, 7), "runtime_version": (12, 8)}
OPTIONS = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
"""Autotuning would need the device, and without it Triton finds no tiles for some products."""
CALL = re.compile(r'window={([^}]*)}.*custom_call_target="__cudnn\$(\w+)"')


class Call(NamedTuple):
    """A call of cuDNN."""

    function: str
    window: str
    """As XLA prints it, such as ``size=3x3 pad=2_2x2_2 rhs_dilate=2x2``."""

    @property
    def size(self) -> tuple[int, ...]:
        """The size of the window."""
        found = re.search(r"size=([\dx]+)", self.window)
        return tuple(map(int, found.group(1).split("x"))) if found else ()


@dataclasses.dataclass(frozen=True)
class Case:
    """A convolution."""

    name: str
    x: tuple[int, ...]
    kernel: tuple[int, ...]
    options: Mapping[str, Any]

    def function(self, algorithm: Algorithm | None) -> Callable[[Any, Any], jax.Array]:
        """Make the function of input and kernel."""
        groups = self.x[-1] // self.kernel[-2]
        return functools.partial(
            dilax.conv, feature_group_count=groups, algorithm=algorithm, **self.options
        )


CASES = (
    Case("depthwise 3x3, dilation 2", (64, 32, 32, 64), (3, 3, 1, 64), {"kernel_dilation": 2}),
    Case("depthwise 3x3, dilation 12", (4, 33, 33, 256), (3, 3, 1, 256), {"kernel_dilation": 12}),
    Case("dense 3x3, dilation 2", (64, 32, 32, 64), (3, 3, 64, 64), {"kernel_dilation": 2}),
    Case(
        "dense 3x3, dilation 2, stride 2",
        (8, 64, 64, 64),
        (3, 3, 64, 64),
        {"kernel_dilation": 2, "strides": 2},
    ),
    Case(
        "dense 3x3, dilation 2, stride 3",
        (8, 63, 63, 64),
        (3, 3, 64, 64),
        {"kernel_dilation": 2, "strides": 3},
    ),
    Case(
        "dense 3, dilation 16, causal",
        (8, 4096, 64),
        (3, 64, 64),
        {"kernel_dilation": 16, "padding": "CAUSAL"},
    ),
    Case("dense 3x3", (64, 32, 32, 64), (3, 3, 64, 64), {}),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Flags):
    """Compile convolutions for a GPU, and write what cuDNN is called with."""


def measure(config: Config) -> benchmark.Record:
    """Compile every pass of every convolution for every target, by lax and as dilax chooses."""
    del config
    choices = {"lax": dilax.algorithms.lax, "dilax": None}
    return {
        "targets": {
            target: {
                case.name: {name: compiled(case, each, target) for name, each in choices.items()}
                for case in CASES
            }
            for target in TARGETS
        }
    }


def compiled(
    case: Case, algorithm: Algorithm | None, target: str
) -> dict[str, list[dict[str, str]]]:
    """Compile the passes of a convolution; return the calls of each."""
    device = topology(1, target).devices[0]
    return {
        which: [call._asdict() for call in calls(function, device, *shapes)]
        for which, (function, shapes) in passes(case, algorithm).items()
    }


def topology(devices: int, target: str = "H100") -> Any:
    """Describe a machine with GPUs that are not there."""
    facts = "".join(f"{name}: {value}\n" for name, value in (SHARED | TARGETS[target]).items())
    versions = "".join(
        f"{name} {{ major: {major} minor: {minor} }}\n" for name, (major, minor) in VERSIONS.items()
    )
    capability = f"cuda_compute_capability {{ major: {CAPABILITIES[target]} }}"
    text = (
        f"gpu_device_info {{ {facts} {capability} }}\n"
        f'{versions}platform_name: "CUDA"\ndevice_description_str: "NVIDIA {target} 80GB"\n'
    )
    return topologies.get_topology_desc(
        target, "cuda", target_config=text, topology=f"1x1x{devices}"
    )


def passes(
    case: Case, algorithm: Algorithm | None
) -> dict[str, tuple[Callable[..., Any], Sequence[Sequence[int]]]]:
    """Return the function of each pass, and the shapes of its arguments."""
    function = case.function(algorithm)
    types = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (case.x, case.kernel)]
    y = jax.eval_shape(function, *types)
    shapes = (case.x, case.kernel, y.shape)

    def gradient(place: int) -> Callable[..., jax.Array]:
        return lambda x, kernel, g: jax.vjp(function, x, kernel)[1](g)[place]

    return {
        "forward": (function, shapes[:2]),
        "input gradient": (gradient(0), shapes),
        "kernel gradient": (gradient(1), shapes),
    }


def calls(function: Callable[..., Any], device: Any, *shapes: Sequence[int]) -> list[Call]:
    """Compile a function of float32 arrays for a device; return its calls of cuDNN."""
    place = SingleDeviceSharding(device)
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place) for shape in shapes]
    return calls_of(jax.jit(function).lower(*arguments))


def calls_of(lowered: Any) -> list[Call]:
    """Compile a lowered function; return its calls of cuDNN."""
    text = lowered.compile(compiler_options=OPTIONS).as_text()
    return [Call(function, window) for window, function in CALL.findall(text)]


# --- the table ------------------------------------------------------------------------------------


def section(record: benchmark.Record) -> str:
    """Make the table of all passes, for the first target, and say where others differ."""
    first, *others = record["targets"]
    found = record["targets"][first]
    differing = [name for name in others if record["targets"][name] != found]
    rows = []
    for name, case in found.items():
        for which in case["lax"]:
            by_lax, by_dilax = (_cell(case[each][which]) for each in ("lax", "dilax"))
            rows.append((name, which, by_lax, "the same" if by_lax == by_dilax else by_dilax))
    table = benchmark.table(("convolution", "pass", "lax", "dilax"), rows)
    also = "".join(
        f" The calls for {name} are the same." for name in others if name not in differing
    )
    also += "".join(f" Some calls for {name} differ." for name in differing)
    return (
        f"{table}\nCompiled for NVIDIA {first} by jax {record['versions']['jax']}, not run "
        f"([record](experiments/results/compiled_for_gpu.json)).{also}\n"
    )


def _cell(found: Sequence[Mapping[str, str]]) -> str:
    return "; ".join(f"{each['function']}, {each['window']}" for each in found)


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())
