import jax.numpy as jnp
import numpy as np
import pytest

from dilax.training.losses import correct, cross_entropy

LOGITS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) * 3
LABELS = np.array([0, 3, 2, 2, 1], np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_equals_its_formula_in_float64(smoothing):
    logits = LOGITS.astype(np.float64)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = (1 - smoothing) * np.eye(4)[LABELS] + smoothing / 4
    losses = cross_entropy(jnp.array(LOGITS), jnp.array(LABELS), label_smoothing=smoothing)
    np.testing.assert_allclose(losses, -(targets * log_softmax).sum(axis=1), rtol=1e-5)


def test_cross_entropy_of_enormous_logits_is_finite():
    logits = jnp.array([[1e30, -1e30, 0.0]])
    assert float(cross_entropy(logits, jnp.array([0]))[0]) == 0.0


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(
        ValueError, match=r"label_smoothing must be (in \[0, 1\), received|finite, got)"
    ):
        cross_entropy(jnp.array(LOGITS), jnp.array(LABELS), label_smoothing=smoothing)


def test_correct_is_argmax_equal_to_label():
    expected = [int(np.argmax(row)) == label for row, label in zip(LOGITS, LABELS, strict=True)]
    assert correct(jnp.array(LOGITS), jnp.array(LABELS)).tolist() == expected
    assert True in expected or False in expected
