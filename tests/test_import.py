"""What importing dilax does to a program: nothing beyond its names. Each in a fresh interpreter."""

import importlib.metadata
import subprocess
import sys
import textwrap

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


def test_import_changes_nothing_and_prints_nothing() -> None:
    """No flag, no environment, no backend; and every package is an attribute."""
    printed = run("""
        import os, jax, flax.nnx
        flags, environment = dict(jax.config.values), dict(os.environ)
        import dilax
        print(dilax.nn.__name__, dilax.models.__name__, dilax.analysis.__name__)
        print({name: value for name, value in flags.items() if jax.config.values[name] != value})
        print(dict(os.environ) == environment)
        from jax._src import xla_bridge
        print(xla_bridge.backends_are_initialized())
    """)
    assert printed.split("\n") == ["dilax.nn dilax.models dilax.analysis", "{}", "True", "False"]


def test_broken_flax_is_one_sentence() -> None:
    """Some pairs of jax and flax raise AttributeError in the middle of importing flax.nnx."""
    printed = run("""
        import importlib.abc, importlib.metadata, sys

        class Broken(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == "flax.nnx":
                    raise self.error("jax._src.core has no attribute 'mutable_array'")

        broken = Broken()
        sys.meta_path.insert(0, broken)
        import dilax, jax.numpy as jnp
        assert dilax.conv(jnp.ones((3, 1)), jnp.ones((2, 1, 1))).shape == (3, 1)
        for broken.error in (AttributeError, ImportError, TypeError):
            try:
                import dilax.nn
            except ImportError as error:
                print(error)
    """)
    messages = printed.split("\n")
    assert len(messages) == 3
    for message in messages:
        for part in ("flax.nnx", *map(importlib.metadata.version, ("jax", "flax"))):
            assert part in message
