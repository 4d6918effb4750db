import numpy as np
import pytest

from dilax.training.schedules import cosine, one_cycle


def test_one_cycle_rises_along_a_line_and_falls_along_half_a_cosine():
    peak, total = 0.02, 200
    schedule = one_cycle(peak, total_steps=total)

    def expected(step):
        top = 40
        if step < top:
            return peak / 25 + (peak - peak / 25) * step / top
        return peak * (1 + np.cos(np.pi * (step - top) / (total - top))) / 2

    for step in (0, 1, 20, 40, 41, 130, 199, 200):
        assert float(schedule(step)) == pytest.approx(expected(step), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("total", [1, 2, 3, 4])
def test_one_cycle_of_a_few_steps_is_finite_and_never_above_its_peak(total):
    schedule = one_cycle(0.01, total_steps=total)
    assert all(0 <= float(schedule(step)) <= 0.0100001 for step in range(total + 1))


def test_cosine_falls_along_half_a_cosine():
    schedule = cosine(0.02, total_steps=200)
    for step in (0, 1, 50, 199, 200):
        expected = 0.02 * (1 + np.cos(np.pi * step / 200)) / 2
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("schedule", [one_cycle, cosine])
def test_impossible_rates_are_refused(schedule):
    with pytest.raises(ValueError, match="learning_rate must be positive, received -1"):
        schedule(-1, total_steps=10)
    with pytest.raises(ValueError, match="total_steps must be at least 1, received 0"):
        schedule(0.1, total_steps=0)
