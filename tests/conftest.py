"""Strict settings of JAX for all tests: no rank promotion, warnings are errors, two CPU devices."""

import contextlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import jaxlib
import pytest

from tests import random_arrays

LONGEST = tuple(
    Path(__file__).parent / name for name in ("experiments", "training", "test_docs.py")
)
"""Tests that start whole programs, and the longest file, which one process runs alone."""


jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiling a new shape takes longer than any deadline that would say something about the code.
_COMMON = {"deadline": None, "derandomize": True, "print_blob": True, "database": None}
hypothesis.settings.register_profile("default", max_examples=40, **_COMMON)
hypothesis.settings.register_profile("long", max_examples=2000, **_COMMON)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="thousands of random cases, kills and flipped bytes"
    )


def pytest_configure(config: pytest.Config) -> None:
    keep_compiled_programs(config)
    set_flags_of_xla(long=config.getoption("--long"))
    config.addinivalue_line("markers", "long: only with --long")
    hypothesis.settings.load_profile("long" if config.getoption("--long") else "default")


def set_flags_of_xla(*, long: bool) -> None:
    """Let XLA compile the thousands of small programs of the tests quickly: each in one piece.

    And by older code for its loops, which takes less than half the time; ``--long`` tests the
    programs that users get. A flag that is not known would end the process.
    """
    flags = ["--xla_cpu_parallel_codegen_split_count=1"]
    if not long and is_known("xla_cpu_use_fusion_emitters"):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags])


def is_known(flag: str) -> bool:
    """Return whether the installed XLA has a flag."""
    for path in Path(jaxlib.__file__).parent.glob("libjax_common.*"):
        with (
            path.open("rb") as library,
            mmap.mmap(library.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return content.find(flag.encode()) >= 0
    return False


def keep_compiled_programs(config: pytest.Config) -> None:
    """Keep what this process compiles in a folder: many tests compile the same small programs.

    A folder that was set from outside stays.
    """
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    folder = tempfile.mkdtemp(prefix="compiled-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop long tests unless asked for; run those that take longest first."""
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long") is not None]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    items.sort(key=lambda item: not any(map(item.path.is_relative_to, LONGEST)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let a test have the same random arrays in any order of tests."""
    random_arrays.restart()


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form of a test was asked for."""
    return request.config.getoption("--long")


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture
def double():
    """Float64 arrays for the length of a test."""
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        yield


@contextlib.contextmanager
def _few_optimizations() -> Iterator[None]:
    name = "jax_disable_most_optimizations"
    before = jax.config.values[name]
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)


@pytest.fixture
def compile_quickly():
    """Let XLA optimise less during a test, for tests that spend their time on compilation."""
    with _few_optimizations():
        yield


@pytest.fixture(scope="module")
def module_compiles_quickly():
    """The same for all tests of a module, and its fixtures."""
    with _few_optimizations():
        yield
