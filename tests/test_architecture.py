"""The layout, read from the source: imports point one way, and nothing is done on import."""

import ast
import functools
import pathlib
from collections.abc import Iterator

import pytest

import dilax

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = sorted((ROOT / "dilax").rglob("*.py"))
PROGRAMS = sorted((ROOT / "experiments").rglob("*.py"))

# What each package or file may import besides itself and `ANYWHERE`, floor by floor. A new package
# or file must be added here.
CORE = {"geometry", "algorithms", "_choice", "_primitives", "_functions"}
MAY_IMPORT: dict[str, set[str]] = {
    # the core, from integers to functions
    "_version": set(),
    "_checks": set(),
    "_arrays": set(),
    "_atomic": set(),
    "_processor": set(),
    "geometry": set(),
    "algorithms": {"geometry"},
    "_choice": {"geometry", "algorithms"},
    "_primitives": {"geometry", "algorithms", "_choice"},
    "_functions": {"geometry", "algorithms", "_primitives"},
    # tools on top of it, and modules
    "_jaxprs": set(),
    "_accelerate": {"_jaxprs", *CORE},
    "degridding": CORE,
    "analysis": {"_jaxprs", *CORE},
    "inference": {"_jaxprs", "_accelerate", *CORE},
    "nn": {"degridding", *CORE},
    # using networks
    "data": set(),
    "training": set(),
    "models": {"nn", "data", "training", "analysis", "_jaxprs", *CORE},
    # the names at the top
    "": {"_accelerate", *CORE},
}
ANYWHERE = {"_version", "_checks", "_arrays", "_atomic", "_processor"}
# Names at the top that are imported when they are first used: said to type checkers only.
LAZY = {"analysis", "data", "degridding", "inference", "models", "nn", "training"}
# Libraries that must not be imported: the core and the tools need only JAX and NumPy.
FORBIDDEN = {
    "geometry": {"jax", "jaxlib", "flax", "numpy", "optax"},
    "_checks": {"jax", "jaxlib", "flax", "numpy", "optax"},
    **{
        place: {"flax", "optax", "orbax", "tensorflow_datasets"}
        for place in (
            *("_arrays", "algorithms", "_choice", "_primitives", "_functions", ""),
            *("_jaxprs", "_accelerate", "degridding", "analysis", "inference"),
        )
    },
    "nn": {"optax"},
    "models": {"optax"},
}
MAY_PRINT = {"dilax/training/_loop.py"}


@functools.cache
def parse(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def name(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package(path: pathlib.Path) -> str:
    """The first name below ``dilax``; empty for ``dilax/__init__.py`` itself."""
    first = path.relative_to(ROOT / "dilax").parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported(path: pathlib.Path) -> set[str]:
    """Full dotted names of all that a file imports."""
    return set(imports(parse(path), path.relative_to(ROOT).parts[:-1]))


def imports(tree: ast.Module, package: tuple[str, ...]) -> Iterator[str]:
    """All imports anywhere in a file; relative ones are resolved from ``package``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_point_down(path: pathlib.Path) -> None:
    here = package(path)
    assert here in MAY_IMPORT, f"{name(path)} has no place in the order"
    parts = [module.split(".") for module in imported(path)]
    packages = {part[1] for part in parts if part[0] == "dilax" and len(part) > 1}
    lazy = LAZY if here == "" else set()
    names_at_the_top = set(dilax.__all__) - set(MAY_IMPORT) if here in LAZY else set()
    above = packages - ANYWHERE - lazy - names_at_the_top - {here} - MAY_IMPORT[here]
    assert not above, f"{name(path)} imports {above}, which is above it"
    assert not {part[0] for part in parts} & FORBIDDEN.get(here, set()), name(path)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_package_knows_no_program_and_no_test(path: pathlib.Path) -> None:
    assert not {module.split(".")[0] for module in imported(path)} & {
        "experiments",
        "tests",
        "chex",
    }


@pytest.mark.parametrize("path", PROGRAMS, ids=name)
def test_programs_do_not_import_tests(path: pathlib.Path) -> None:
    assert "tests" not in {module.split(".")[0] for module in imported(path)}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_the_loop_and_programs_print(path: pathlib.Path) -> None:
    calls = [node.func for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
    prints = [call.lineno for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    allowed = name(path) in MAY_PRINT or path.name == "__main__.py"
    assert allowed or not prints, f"{name(path)} prints on lines {prints}"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "__main__.py"], ids=name)
def test_importing_runs_nothing(path: pathlib.Path) -> None:
    """A module's top level defines, imports and assigns; a bare call would be an effect."""
    effects = [
        node.lineno
        for node in parse(path).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    assert not effects, f"{name(path)} calls something for its effect on lines {effects}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import jax.numpy as jnp", "jax.numpy"),
        ("from dilax import geometry", "dilax.geometry"),
        ("from . import _windows", "dilax.algorithms._windows"),
        ("from .._version import __version__", "dilax._version.__version__"),
        ("def f():\n    from ..nn._conv import Conv", "dilax.nn._conv.Conv"),
    ],
)
def test_every_form_of_import_is_seen(source: str, expected: str) -> None:
    assert list(imports(ast.parse(source), ("dilax", "algorithms"))) == [expected]
