import numpy as np

from dilax.training.statistics import confusion_matrix


def test_confusion_counts_truth_by_row():
    random = np.random.default_rng(0)
    labels, predictions = random.integers(0, 4, 50), random.integers(0, 4, 50)
    expected = np.zeros((4, 4), int)
    for truth, prediction in zip(labels, predictions, strict=True):
        expected[truth, prediction] += 1
    matrix = confusion_matrix(labels, predictions, classes=5)
    np.testing.assert_array_equal(matrix[:4, :4], expected)
    assert matrix.shape == (5, 5) and matrix.sum() == 50
