"""The strictest JAX there is: rank promotion raises, warnings are errors, two CPU devices."""

import os

import hypothesis
import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiling a new shape takes longer than any deadline that would say something about the code.
_COMMON = {"deadline": None, "derandomize": True, "print_blob": True, "database": None}
hypothesis.settings.register_profile("default", max_examples=60, **_COMMON)
hypothesis.settings.register_profile("thorough", max_examples=2000, **_COMMON)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture
def double():
    """Float64 arrays for the length of a test."""
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        yield


@pytest.fixture
def compile_quickly():
    """XLA optimises little for the length of a test: for tests whose time is compilation."""
    name = "jax_disable_most_optimizations"
    before = jax.config.values[name]
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)
