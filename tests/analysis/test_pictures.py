"""Pictures are written, as large as what they show asks for, and light up the right pixels."""

import numpy as np
import pytest

from dilax.analysis import Layer, coverage, effective_receptive_field, pictures

SCHEDULES = {
    name: [Layer((3, 3), kernel_dilation=dilation) for dilation in dilations]
    for name, dilations in {"equal": (2, 2, 2), "hybrid": (1, 2, 3, 1)}.items()
}


def size_of(path):
    """Width and height of a PNG, from its header."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return tuple(int.from_bytes(content[at : at + 4], "big") for at in (16, 20))


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 1), (20, 24, 3)])
def test_growing_fields(tmp_path, shape):
    image = np.full(shape, 200, np.uint8)
    pictures.growing_fields(tmp_path / "growing.png", image, SCHEDULES)
    assert size_of(tmp_path / "growing.png") == (round(1.8 * 4 * 120), round(2.1 * 2 * 120))


def test_touched_pixels():
    found = coverage(SCHEDULES["equal"])
    lit = pictures._touched((20, 24), (4, 6), found)
    assert lit.sum() == 7 * 7
    assert lit[4, 6]
    assert lit[16, 18]
    assert not lit[5].any()


def test_coverage_maps(tmp_path):
    pictures.coverage_maps(tmp_path / "coverage.png", SCHEDULES)
    assert size_of(tmp_path / "coverage.png") == (round(2.6 * 2 * 120), 360)


def test_effective_fields(tmp_path):
    field = effective_receptive_field(lambda x: x**2, np.ones((1, 8, 9, 1), np.float32))
    pictures.effective_fields(tmp_path / "effective.png", {"point": field})
    assert size_of(tmp_path / "effective.png") == (round(2.6 * 120), 360)
