"""Mutation testing of the core: how many small faults the tests notice.

    python experiments/benchmarks/mutants.py --number 40 --seed 0

The program changes one operator or integer of the core at a time, in a copy of the repository, and
runs the tests of the core until one fails. A mutant that no test notices shows either a gap in the
tests or a change that affects only speed, as most changes of ``_choice.py`` do. The record,
``experiments/results/mutants.json``, lists each mutant and whether a test noticed it.
"""

import ast
import collections
import concurrent.futures
import dataclasses
import functools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import benchmark

from dilax.training import git_commit

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("tests/test_geometry.py", "tests/test_choice.py", "tests/algorithms", "tests/functions")
TESTS_OF_TOOLS = ("tests/accelerate",)
ENDLESS = -1
"""In place of pytest's exit status, if the tests never end."""
OUTCOMES = {0: "not noticed", 1: "noticed", 2: "noticed", ENDLESS: "noticed"}
OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Flags):
    """Change operators and integers of the core, and count how many the tests notice."""

    number: int = 40
    """Number of mutants, drawn at random."""
    seed: int = 0
    """Seed of the random choice of mutants."""
    core: tuple[str, ...] = (
        *("dilax/geometry.py", "dilax/_choice.py", "dilax/_primitives.py"),
        *("dilax/algorithms", "dilax/_functions"),
    )
    """Files and folders to change."""
    tests: tuple[str, ...] = TESTS + TESTS_OF_TOOLS
    """Tests to run, in this order."""
    root: Path = ROOT
    """Root of the repository to mutate; it may be another checkout."""
    workers: int = 2
    """Number of mutants that are tested at the same time."""
    patience: float = 3600.0
    """Seconds after which a mutant counts as noticed, because the tests never end."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change: its file and node, and the source before and after."""

    path: str
    line: int
    place: int
    before: str
    after: str


def measure(config: Config) -> benchmark.Record:
    """Draw mutants and run the tests on each.

    Raises:
        ValueError: The tests fail before anything is changed.
    """
    found = candidates(config)
    drawn = random.Random(config.seed).sample(found, min(config.number, len(found)))
    with (
        tempfile.TemporaryDirectory() as compiled,
        concurrent.futures.ThreadPoolExecutor(config.workers) as pool,
    ):
        if run_tests(config, None, Path(compiled)) != 0:
            raise ValueError("the tests must pass before anything is changed, and they do not")
        rows = list(pool.map(lambda mutant: judge(mutant, config, Path(compiled)), drawn))
    return {
        "candidates": len(found),
        "n": len(rows),
        "outcomes": dict(collections.Counter(str(row["outcome"]) for row in rows)),
        "mutated_commit": git_commit(config.root / "dilax"),
        "rows": rows,
    }


def section(record: benchmark.Record) -> str:
    """How many mutants were noticed, in a line."""
    return f"{record['outcomes'].get('noticed', 0)} of {record['n']} mutants noticed\n"


main = functools.partial(benchmark.run, Config, measure, section)


def candidates(config: Config) -> list[Mutant]:
    """List every change that can be made, in order."""
    places = [config.root / place for place in config.core]
    files = [file for place in places for file in (sorted(place.rglob("*.py")) or [place])]
    return [mutant for file in files for mutant in mutants_of(file, config.root)]


def mutants_of(file: Path, root: Path) -> list[Mutant]:
    """List the changes of one file."""
    tree = ast.parse(file.read_text())
    found = []
    for place, node in enumerate(ast.walk(tree)):
        changed = changed_node(node)
        if changed is not None and not is_docstring_part(node):
            before, after = ast.unparse(node), ast.unparse(changed)
            found.append(
                Mutant(str(file.relative_to(root)), node.lineno, place, before, after)  # type: ignore[attr-defined]
            )
    return found


def is_docstring_part(node: ast.AST) -> bool:
    """Test whether a node is a string."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def changed_node(node: ast.AST) -> ast.AST | None:
    """Return a copy of a node with an operator or integer changed; None if it has neither."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        if isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            return None
        return ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)  # type: ignore[arg-type]
    if isinstance(node, ast.BoolOp):
        return ast.BoolOp(OPERATORS[type(node.op)](), node.values)  # type: ignore[arg-type]
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        changed = [OPERATORS[type(node.ops[0])](), *node.ops[1:]]
        return ast.Compare(node.left, changed, node.comparators)  # type: ignore[arg-type]
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return ast.Constant(node.value + 1)
    return None


def judge(mutant: Mutant, config: Config, compiled: Path) -> dict[str, object]:
    """Test whether the tests notice a mutant."""
    started = time.perf_counter()
    code = run_tests(config, mutant, compiled)
    outcome = OUTCOMES.get(code, "not run")
    seconds = time.perf_counter() - started
    change = f"{mutant.path}:{mutant.line}  {mutant.before} -> {mutant.after}"
    print(f"{outcome:12} {change}  {seconds:.0f} s", flush=True)
    return dataclasses.asdict(mutant) | {"outcome": outcome}


def run_tests(config: Config, mutant: Mutant | None, compiled: Path) -> int:
    """Run the tests in a copy of the repository, changed or not; return pytest's exit status.

    Programs that are compiled are kept in a folder, because most are the same in every mutant.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repository"
        for name in ("dilax", "tests", "experiments", "pyproject.toml"):
            copied = shutil.copytree if (config.root / name).is_dir() else shutil.copy
            copied(config.root / name, make_parent(copy / name))
        if mutant is not None:
            file = copy / mutant.path
            file.write_text(mutated(file.read_text(), mutant.place))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-o", "addopts=", "-p", "no:xdist"]
        command += [f"-Wignore:Error {what} persistent" for what in ("reading", "writing")]
        environment = os.environ | {
            "PYTHONPATH": str(copy),
            "PYTHONDONTWRITEBYTECODE": "1",
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        try:
            return subprocess.run(
                [*command, *config.tests],
                cwd=copy,
                env=environment,
                capture_output=True,
                timeout=config.patience,
            ).returncode
        except subprocess.TimeoutExpired:
            return ENDLESS


def make_parent(path: Path) -> Path:
    """Create the parent folder of a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def mutated(source: str, place: int) -> str:
    """Return a program's source with node number ``place``, in order of ``ast.walk``, changed."""
    tree = ast.parse(source)
    target = next(node for number, node in enumerate(ast.walk(tree)) if number == place)

    class Change(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            if node is target:
                changed = changed_node(node)
                assert changed is not None
                return ast.copy_location(changed, node)
            return self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Change().visit(tree)))


if __name__ == "__main__":
    sys.exit(main())
