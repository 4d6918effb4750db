"""What importing dilax does to a program: nothing beyond its names. Each in a fresh interpreter."""

import subprocess
import sys
import textwrap

import pytest

HEAVY = ("tensorflow", "tensorflow_datasets", "matplotlib", "orbax", "rich", "tyro")


def run(program: str) -> str:
    """Run a program in a new interpreter and give back what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_import_brings_no_heavy_package() -> None:
    loaded = run("""
        import sys, dilax
        print(*sorted({name.split(".")[0] for name in sys.modules}))
    """).split()
    assert "dilax" in loaded
    assert not set(loaded) & {*HEAVY, "flax", "optax"}


def test_modules_of_flax_bring_no_heavy_package_of_ours() -> None:
    """Flax itself loads some of them; dilax.nn and dilax.models add none to what Flax brings."""
    added = run("""
        import sys
        import flax.nnx
        before = set(sys.modules)
        import dilax.nn, dilax.models
        print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
    """).split()
    assert "dilax" in added
    assert not set(added) & set(HEAVY)


def test_import_starts_no_backend() -> None:
    printed = run("""
        import dilax, dilax.nn
        from jax._src import xla_bridge
        print(xla_bridge.backends_are_initialized())
    """)
    assert printed == "False"


def test_import_changes_no_flag_and_no_environment() -> None:
    printed = run("""
        import os, jax, flax.nnx
        flags, environment = dict(jax.config.values), dict(os.environ)
        import dilax, dilax.nn, dilax.models
        print({name: value for name, value in flags.items() if jax.config.values[name] != value})
        print(dict(os.environ) == environment)
    """)
    assert printed.split("\n") == ["{}", "True"]


def test_import_prints_nothing() -> None:
    assert run("import dilax, dilax.nn, dilax.models") == ""


@pytest.mark.parametrize("error", ["AttributeError", "ImportError", "TypeError"])
def test_broken_flax_is_one_sentence(error: str) -> None:
    """Some pairs of jax and flax raise AttributeError in the middle of importing flax.nnx."""
    printed = run(f"""
        import importlib.abc, importlib.metadata, sys

        class Broken(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == "flax.nnx":
                    raise {error}("jax._src.core has no attribute 'mutable_array'")

        sys.meta_path.insert(0, Broken())
        import dilax, jax.numpy as jnp
        assert dilax.conv(jnp.ones((3, 1)), jnp.ones((2, 1, 1))).shape == (3, 1)
        try:
            import dilax.nn
        except ImportError as error:
            message = str(error)
        for name in ("jax", "flax"):
            assert importlib.metadata.version(name) in message, message
        print(message)
    """)
    assert "flax.nnx" in printed
    assert "\n" not in printed


def test_every_room_is_an_attribute() -> None:
    printed = run("""
        import dilax
        print(dilax.nn.__name__, dilax.models.__name__, dilax.analysis.__name__)
    """)
    assert printed == "dilax.nn dilax.models dilax.analysis"
