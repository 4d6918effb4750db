"""Labels of words: chains against all paths, padding, metrics."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax.training import Tagging, TagScores, Totals

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

TASK = Tagging(classes=3)
LENGTHS = (5, 1, 3, 0)


def some_texts():
    """Scores of texts of several lengths, and their labels."""
    random = np.random.default_rng(0)
    scores = random.normal(size=(4, 5, 3)).astype(np.float32)
    transitions = np.broadcast_to(random.normal(size=(3, 3)).astype(np.float32), (4, 3, 3))
    labels = random.integers(0, 3, (4, 5)).astype(np.int32)
    mask = np.arange(5) < np.array(LENGTHS)[:, None]
    outputs = TagScores(*map(jnp.asarray, (scores, transitions, mask)))
    return outputs, jnp.asarray(np.where(mask, labels, -1))


def path_scores(outputs, text, length):
    """The score of each path of labels through one text."""
    scores, transitions = np.asarray(outputs.scores[text]), np.asarray(outputs.transitions[text])
    return {
        path: sum(scores[place, label] for place, label in enumerate(path))
        + sum(transitions[a, b] for a, b in itertools.pairwise(path))
        for path in itertools.product(range(3), repeat=length)
    }


def test_a_chain_is_as_probable_as_among_all_paths():
    outputs, labels = some_texts()
    losses, decoded = TASK.losses(outputs, labels), TASK.decode(outputs)
    for text, length in enumerate(LENGTHS[:3]):
        paths = path_scores(outputs, text, length)
        own = paths[tuple(np.asarray(labels[text, :length]).tolist())]
        expected = np.log(np.exp(list(paths.values())).sum()) - own
        assert float(losses[text]) == pytest.approx(expected / length, rel=1e-5)
        best = max(paths, key=paths.__getitem__)
        assert tuple(np.asarray(decoded[text, :length]).tolist()) == best
    assert float(losses[3]) == 0


def test_without_transitions_words_are_judged_alone():
    outputs, labels = some_texts()
    alone, zero = outputs._replace(transitions=None), jnp.zeros_like(outputs.transitions)
    as_chain = TASK.losses(outputs._replace(transitions=zero), labels)
    np.testing.assert_allclose(TASK.losses(alone, labels), as_chain, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(TASK.decode(alone), outputs.scores.argmax(-1))


def test_padding_changes_nothing_and_has_no_gradient():
    outputs, labels = some_texts()
    longer = outputs._replace(
        scores=jnp.pad(outputs.scores, ((0, 0), (0, 4), (0, 0)), constant_values=9),
        mask=jnp.pad(outputs.mask, ((0, 0), (0, 4))),
    )
    padded = jnp.pad(labels, ((0, 0), (0, 4)), constant_values=-1)
    np.testing.assert_allclose(TASK.losses(longer, padded), TASK.losses(outputs, labels), rtol=1e-6)
    found, expected = TASK.decode(longer)[:, :5], TASK.decode(outputs)
    np.testing.assert_array_equal(found[outputs.mask], expected[outputs.mask])
    grads = jax.grad(lambda z: TASK.losses(longer._replace(scores=z), padded).sum())(longer.scores)
    assert np.isfinite(grads).all() and not np.asarray(grads)[~np.asarray(longer.mask)].any()


def test_metrics_count_words_and_whole_texts():
    outputs, labels = some_texts()
    mask, right = np.asarray(outputs.mask), np.asarray(TASK.decode(outputs))
    labels = np.where(mask, right, -1)
    labels[0, 2] = (labels[0, 2] + 1) % 3
    labels = jnp.asarray(labels)
    totals = Totals.of(TASK, TASK.losses(outputs, labels), outputs, labels)
    means = totals.means(TASK)
    assert means["token_accuracy"] == pytest.approx(8 / 9)
    assert means["sequence_accuracy"] == pytest.approx(3 / 4)


@pytest.mark.parametrize(("classes", "error"), [(1, ValueError), (2.5, TypeError)])
def test_an_impossible_number_of_classes_is_refused(classes, error):
    with pytest.raises(error, match="classes must be"):
        Tagging(classes=classes)
