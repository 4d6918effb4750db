"""Conventions as tests, over every public name."""

import importlib
import inspect
import pathlib
import re
import types

import pytest
from jax import lax

import dilax

PACKAGE = pathlib.Path(dilax.__file__).parent
PACKAGES = (
    *("algorithms", "analysis", "data", "degridding", "geometry"),
    *("inference", "models", "nn", "training"),
)
LAX_SIGNATURE = {"conv_general_dilated"}


def modules() -> dict[str, types.ModuleType]:
    """Every public module: packages, and in them the files whose name has no underscore."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            names.append(".".join(("dilax", *parts)))
    return {name: importlib.import_module(name) for name in names}


def exports(module: types.ModuleType) -> list[str]:
    """The names in ``__all__`` of a module; without it, the names that the module defines."""
    defined = [
        member
        for member, value in vars(module).items()
        if not member.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    return list(getattr(module, "__all__", defined))


PUBLIC = {
    f"{name}.{member}": getattr(module, member)
    for name, module in modules().items()
    for member in exports(module)
    if not isinstance(getattr(module, member), types.ModuleType)
}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
ON_ARRAYS = [
    name
    for name, value in FUNCTIONS.items()
    if name.count(".") == 1 and value.__module__.startswith("dilax._functions")
]


def test_the_public_surface_is_found() -> None:
    assert {"dilax.conv", "dilax.max_pool", "dilax.geometry.output_size"} <= set(FUNCTIONS)
    assert {"dilax.algorithms.Algorithm", "dilax.nn.Conv"} <= set(CLASSES)


@pytest.mark.parametrize(
    "name", [name for name, module in modules().items() if hasattr(module, "__all__")]
)
def test_all_is_what_can_be_imported(name: str) -> None:
    """Every name in ``__all__`` exists and is listed once, and every package has ``__all__``."""
    module = modules()[name]
    exported = module.__all__
    assert len(set(exported)) == len(exported)
    assert all(hasattr(module, member) for member in exported)
    if hasattr(module, "__path__"):
        visible = {
            member
            for member, value in vars(module).items()
            if not member.startswith("_") and not isinstance(value, types.ModuleType)
        }
        assert visible - {"annotations", "ModuleType", "TYPE_CHECKING"} <= set(exported), (
            "exports more than it says"
        )


def test_packages_say_what_they_export() -> None:
    assert all(getattr(dilax, name).__all__ for name in PACKAGES)


def test_everything_public_is_listed_at_the_top() -> None:
    """What an editor completes after ``dilax.``: names and packages, and nothing else."""
    assert set(dir(dilax)) == {*dilax.__all__, *PACKAGES}


def test_each_name_has_one_public_path() -> None:
    places: dict[int, list[str]] = {}
    for name, value in (FUNCTIONS | CLASSES).items():
        places.setdefault(id(value), []).append(name)
    assert [names for names in places.values() if len(names) > 1] == []


def documented() -> list[str]:
    """The names in the API reference; a module documented as a whole has all its exports."""
    pages = (PACKAGE.parent / "docs" / "api").glob("*.md")
    directive = r"^\.\. auto(\w+):: (\S+)"
    found = [pair for page in pages for pair in re.findall(directive, page.read_text(), re.M)]
    return [
        full
        for kind, name in found
        for full in (
            [f"{name}.{member}" for member in exports(importlib.import_module(name))]
            if kind == "module"
            else [name]
        )
    ]


def test_the_reference_documents_every_public_name_once() -> None:
    """Where a name is missing or gone, mend its page under ``docs/api``."""
    names = {name for name in PUBLIC if not name.rpartition(".")[2].startswith("__")}
    found = documented()
    assert (names - set(found), set(found) - names) == (set(), set()), "missing, gone"
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", FUNCTIONS | CLASSES)
def test_has_a_docstring(name: str) -> None:
    value = PUBLIC[name]
    assert value.__doc__
    assert not value.__doc__.startswith(f"{value.__name__}("), "only what @dataclass generates"


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.count(".") == 1])
def test_functions_of_arrays_show_an_example_and_shapes(name: str) -> None:
    documentation = inspect.getdoc(FUNCTIONS[name])
    assert ">>>" in documentation
    for section in ("Args:", "Returns:", "Raises:"):
        assert section in documentation, f"{name} has no section {section}"
    described = [line.split(":")[0].strip() for line in documentation.splitlines() if ":" in line]
    missing = set(inspect.signature(FUNCTIONS[name]).parameters) - set(described)
    assert not missing, f"{name} does not describe {missing}"


@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS if name.rpartition(".")[2] not in LAX_SIGNATURE]
)
def test_defaults_are_keyword_only(name: str) -> None:
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    positional = [
        parameter.name
        for parameter in parameters
        if parameter.default is not parameter.empty and parameter.kind is not parameter.KEYWORD_ONLY
    ]
    only_argument = len(parameters) == 1
    assert only_argument or not positional, f"{name}: {positional} are not keyword-only"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_key_comes_first_and_is_called_key(name: str) -> None:
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters)
    assert not {"rng", "rng_key", "prng_key", "seed_key"} & set(parameters)
    if "key" in parameters:
        assert parameters[0] == "key"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_is_fully_annotated(name: str) -> None:
    signature = inspect.signature(FUNCTIONS[name])
    bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert not bare, f"{name}: {bare}"
    assert signature.return_annotation is not signature.empty


VOCABULARY = {
    "dilation": "kernel_dilation",
    "rhs_dilation": "kernel_dilation",
    "stride": "strides",
    "window_strides": "strides",
    "pad": "padding",
    "groups": "feature_group_count",
    "weight": "kernel",
    "weights": "kernel",
    "channels": "features",
}


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.count(".") == 1])
def test_speaks_the_words_of_flax(name: str) -> None:
    if name.rpartition(".")[2] in LAX_SIGNATURE:
        assert set(inspect.signature(lax.conv_general_dilated).parameters) <= set(
            inspect.signature(FUNCTIONS[name]).parameters
        )
        return
    assert not set(inspect.signature(FUNCTIONS[name]).parameters) & set(VOCABULARY)
