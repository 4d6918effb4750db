"""The core and its tools need JAX and NumPy alone."""

import importlib.metadata
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import dilax

PROGRAM = """
    import importlib.util, sys
    sys.path.insert(0, {site!r})
    assert all(importlib.util.find_spec(name) is None for name in ("flax", "optax", "orbax"))
    import dilax, jax.numpy as jnp
    from jax import lax

    def network(x):
        kernel = jnp.ones((3, 3, 1, 4))
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", rhs_dilation=(2, 2), feature_group_count=4,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    x = jnp.ones((1, 9, 9, 4))
    assert (dilax.accelerate(network)(x) == network(x)).all()
    print(dilax.analysis.receptive_field(network, x).outputs[0].axes[0].size)
    try:
        dilax.nn
    except ImportError as error:
        print(error)
"""


def required(name: str) -> set[str]:
    """A distribution and all that it requires, without extras."""
    found, pending = set(), [name]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        for line in importlib.metadata.requires(name) or ():
            requirement, _, condition = line.partition(";")
            if "extra" not in condition and "python_version <" not in condition:
                pending.append(re.match(r"[\w.-]+", requirement)[0])
    return found


def test_the_core_requires_jax_and_numpy() -> None:
    lines = importlib.metadata.requires("dilax-jax")
    core = {re.match(r"[\w-]+", line)[0] for line in lines if "extra" not in line}
    assert core == {"jax", "numpy"}


def test_the_core_runs_where_nothing_else_is_installed(tmp_path: Path) -> None:
    for name in required("jax") | {"numpy"}:
        distribution = importlib.metadata.distribution(name)
        for part in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            (tmp_path / part).symlink_to(distribution.locate_file(part))
    (tmp_path / "dilax").symlink_to(Path(dilax.__file__).parent)
    program = textwrap.dedent(PROGRAM).format(site=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    size, message = done.stdout.strip().split("\n")
    assert size == "5" and "pip install 'dilax-jax[train]'" in message
