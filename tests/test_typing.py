"""What a type checker makes of a user's program, by one run of mypy."""

import subprocess
import sys
from pathlib import Path

import dilax

PROGRAM = """
import dilax
import jax
import jax.numpy as jnp
from flax import nnx

x = jnp.ones((1, 5, 5, 3))
reveal_type(dilax.conv(x, jnp.ones((3, 3, 3, 4)), kernel_dilation=2))
reveal_type(dilax.nn.SeparableBlock(3, 4, (3, 3), rngs=nnx.Rngs(0)))
reveal_type(dilax.nn.DepthwiseConv(3, (3, 3), rngs=nnx.Rngs(0))(x))
reveal_type(dilax.models.create("drn", rngs=nnx.Rngs(0)))
reveal_type(dilax.degridding.degridding_dilation(4))
dilax.conv(x, jnp.ones((3, 3, 3, 4)), kernel_dilation="two")
dilax.nn.DepthwiseConv(3, 3, rngs=nnx.Rngs(0))
dilax.models.create("mnist_dsdc", classes="ten", rngs=nnx.Rngs(0))
dilax.convolve(x)
"""
SAYS = {
    8: 'Revealed type is "jax._src.basearray.Array"',
    9: 'Revealed type is "dilax.nn._blocks.SeparableBlock"',
    10: 'Revealed type is "jax._src.basearray.Array"',
    11: 'Revealed type is "dilax.models._classifier.Classifier"',
    12: 'Revealed type is "tuple[int, ...]"',
    13: 'Argument "kernel_dilation" to "conv" has incompatible type "str"',
    14: 'Argument 2 to "DepthwiseConv" has incompatible type "int"; expected "Sequence[int]"',
    15: 'No overload variant of "create" matches argument types "str", "str", "Rngs"',
    16: 'Module has no attribute "convolve"',
}


def test_a_program_that_uses_dilax_is_checked(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mypy.ini").write_text("[mypy]\nignore_missing_imports = True\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "--follow-imports=silent",
         "--cache-dir=cache", "program.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(Path(dilax.__file__).parents[1]), "PATH": ""},
        capture_output=True,
        text=True,
    )  # fmt: skip
    lines = [line.split(":", 3) for line in checked.stdout.splitlines() if line.startswith("prog")]
    said: dict[int, str] = {}
    for line in lines:  # of an error with several lines, the first
        said.setdefault(int(line[1]), line[3].strip())
    assert set(said) == set(SAYS), checked.stdout + checked.stderr
    for line, expected in SAYS.items():
        assert expected in said[line], said[line]
