"""The page for drawing, in a headless Chromium: what is drawn, and what it answers."""

import base64
import io
import itertools
import math
import os
import re
import shutil
import signal
import subprocess
import sys

import mnist_dsdc
import numpy as np
import pytest
from PIL import Image

from dilax import models
from tests import browser
from tests.processes import ROOT, environment

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(browser.find() is None, reason="Chromium is not installed"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
    pytest.mark.skipif(os.name != "posix", reason="drives Chromium over pipes"),
]
RING = [
    (0.5 + 0.2 * math.sin(angle), 0.5 - 0.32 * math.cos(angle)) for angle in np.arange(0, 6.4, 0.2)
]
DIGITS = {
    "7": [[(0.3, 0.2), (0.7, 0.2)], [(0.7, 0.2), (0.45, 0.85)]],
    "1": [[(0.52, 0.15), (0.48, 0.85)]],
    "0": [RING],
}
"""Strokes on the unit square, from its upper left corner."""
BLANK = "document.getElementById('answer').textContent.startsWith('Draw')"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("runs") / "mnist_dsdc"
    flags = ["--epochs", "1", "--no-pictures", "--output", str(folder)]
    assert mnist_dsdc.main(flags) == 0
    return folder


@pytest.fixture(scope="module")
def address(run, tmp_path_factory):
    """Where the program serves its page, until Ctrl-C."""
    pytest.importorskip("jax2onnx", reason="the extra interop is not installed")
    folder = tmp_path_factory.mktemp("page") / "drawing"
    program = str(ROOT / "experiments" / "draw.py")
    process = subprocess.Popen(
        [sys.executable, program, str(run), "--output", str(folder), "--port", "0"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = next(filter(None, (re.search(r"http://\S+", line) for line in process.stdout)), None)
    assert found, process.communicate()[1]
    yield found[0]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "the page is no longer served\n"
    assert process.returncode == 128 + signal.SIGINT


@pytest.fixture
def tab(address, tmp_path):
    """The page, with a network that is ready."""
    with browser.opened(tmp_path / "profile") as tab:
        tab.open(address, 1280, 900)
        tab.wait_until(f"document.getElementById('answer') && {BLANK}")
        yield tab
        assert tab.errors == []
        assert all(url.startswith((address, "data:")) for url in tab.requested)
        assert len(tab.requested) >= 8  # every file of the page


def in_window(tab, stroke, steps=8):
    """The points of a stroke and those between them, in pixels of the window."""
    box = tab.evaluate("document.getElementById('pad').getBoundingClientRect().toJSON()")
    ends = list(itertools.pairwise(stroke))
    shares = np.linspace(0, 1, steps)
    points = [start + share * (np.array(end) - start) for start, end in ends for share in shares]
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]


def draw(tab, digit):
    for stroke in DIGITS[digit]:
        tab.drag(in_window(tab, stroke))
    tab.settle()


def answer(tab):
    """The most probable class, and the probabilities, as the page shows them."""
    assert re.fullmatch(r"Answered in \d+\.\d ms\.", text(tab, "latency"))
    shown = tab.evaluate("[...document.querySelectorAll('#bars tr')].map(row => row.innerText)")
    rows = [re.fullmatch(r"(\S+)\s+([\d.]+)%", row).groups() for row in shown]
    names, shares = zip(*rows, strict=True)
    assert names == tuple("0123456789")
    best = tab.evaluate("document.querySelector('.best th').textContent")
    assert text(tab, "answer") == f"It looks like {best}."
    return best, np.array(shares, float) / 100


def text(tab, name):
    return tab.evaluate(f"document.getElementById('{name}').textContent")


def pixels(tab, canvas):
    """The pixels of a canvas, a JavaScript expression."""
    url = tab.evaluate(f"{canvas}.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


@pytest.mark.parametrize("digit", DIGITS)
def test_a_drawn_digit_is_that_digit(tab, run, digit):
    draw(tab, digit)
    best, shares = answer(tab)
    assert best == digit and shares.max() == shares[int(digit)] > 0.5
    model = models.load(run)
    seen = pixels(tab, "document.getElementById('seen')")[..., 0]
    assert seen.shape == (28, 28)
    np.testing.assert_allclose(shares, model.predict(seen).probabilities[0], atol=1e-3)
    ink = pixels(tab, "document.getElementById('pad')")[..., 3]
    np.testing.assert_allclose(shares, model.predict(ink).probabilities[0], atol=0.1)


def test_the_first_block_is_shown_on_one_scale(tab, run):
    draw(tab, "7")
    model = models.load(run)
    seen = pixels(tab, "document.getElementById('seen')")[..., :1]
    block = model.network.activations(model.preparation.normalise(seen[None]))["separable_1"][0]
    maps = [pixels(tab, f"document.getElementById('maps').children[{n}]") for n in range(24)]
    assert tab.evaluate("document.getElementById('maps').children.length") == 24
    low, high = min(block.min(), 0), block.max()
    expected = 255 * (np.moveaxis(block, -1, 0) - low) / (high - low)
    np.testing.assert_allclose(np.stack(maps)[..., 0], expected, atol=1)


def test_it_answers_while_the_mouse_is_down_and_clears_by_the_keyboard(tab):
    tab.press_mouse(in_window(tab, DIGITS["1"][0]))
    tab.settle()
    assert answer(tab)[0] == "1"
    tab.evaluate("document.getElementById('clear').focus()")
    tab.press("Enter", 13)
    tab.wait_until(BLANK)
    assert tab.evaluate("document.querySelector('.best')") is None
    for canvas in ("document.getElementById('pad')", "document.getElementById('maps').lastChild"):
        assert not pixels(tab, canvas)[..., :3].any()


def test_a_finger_draws_too(tab):
    tab.call("Emulation.setTouchEmulationEnabled", enabled=True)
    for stroke in DIGITS["7"]:
        tab.touch(in_window(tab, stroke))
    tab.settle()
    assert answer(tab)[0] == "7"


@pytest.mark.parametrize("width", [320, 400, 1280])
def test_it_fits_and_follows_the_colours_of_the_system(tab, tmp_path, width):
    grounds = set()
    draw(tab, "7")
    tab.resize(width, 900)
    for scheme in ("light", "dark"):
        tab.prefer(color_scheme=scheme)
        tab.settle()
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        grounds.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        with Image.open(tab.picture(tmp_path / f"{scheme}.png")) as picture:
            assert picture.format == "PNG"
    assert len(grounds) == 2
