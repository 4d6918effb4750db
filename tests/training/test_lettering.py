"""Names in pictures: any script, any length; counts and epochs that can be read."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from dilax.training import draw_confusion_matrix, draw_learning_curves, draw_mistakes
from dilax.training._lettering import letter

IN_NO_FONT = "\U0001e900"  # of a script of 1989, Adlam
SCRIPTS = ["cat", "قطة", "кошка", "γάτα", "$x_{", f"{IN_NO_FONT}a", "two\nlines", "⌒"]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, in order."""
    figures, save = [], Figure.savefig

    def keep(figure, path, **options):
        figures.append(figure)
        save(figure, path, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_names_are_drawn_in_fonts_that_have_their_letters():
    """U+2312 is in DejaVu Sans Mono and not in DejaVu Sans; both come with Matplotlib."""
    assert letter(["one", "two"], longest=9) == (["one", "two"], ["DejaVu Sans"], "")
    names, family, note = letter(["one", "⌒"], longest=9)
    assert (names, note) == (["one", "⌒"], "")
    assert family[0] == "DejaVu Sans" and len(family) == 2


def test_letters_of_no_font_are_said_to_be_missing():
    """And not drawn in the font that has a box for every letter."""
    names, family, note = letter(["one", IN_NO_FONT, "two"], longest=9)
    assert names == ["one", "#1", "two"]
    assert note == "# stands for a name in letters that no installed font has: ADLAM"
    assert not any(font.startswith("Last Resort") for font in family)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x" * 30, "xxxxxxx…"),
        ("a\nb\tc", "a b c"),
        ("$a$", r"\$a\$"),
        ("a\0b\u200b", "ab"),
        ("", ""),
    ],
)
def test_names_are_short_and_plain(name, expected):
    assert letter([name], longest=8).names == [expected]


def test_pictures_of_all_scripts_draw_no_boxes(tmp_path, drawn):
    """Matplotlib would warn of a missing letter, and a warning is an error here."""
    classes = len(SCRIPTS)
    draw_confusion_matrix(tmp_path / "matrix.png", np.ones((classes, classes), int), SCRIPTS)
    images, labels = np.zeros((classes, 8, 8, 3), np.uint8), np.arange(classes)
    logits = np.eye(classes)[(labels + 1) % classes]
    draw_mistakes(tmp_path / "mistakes.png", images, labels, logits, SCRIPTS)
    lines = [{"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5}]
    draw_learning_curves(tmp_path / "curves.png", {IN_NO_FONT: lines})
    for figure in drawn:
        assert "no installed font has: ADLAM" in figure.get_supxlabel()


def test_long_names_leave_the_matrix_its_size(tmp_path, drawn):
    for name in ("cat", "a name that is very much longer than the names of all other classes"):
        draw_confusion_matrix(tmp_path / "matrix.png", np.eye(5, dtype=int), [name, *"abcd"])
    short, long = (figure.axes[0].get_window_extent().width for figure in drawn)
    assert 0.9 * short < long < 1.5 * short


def test_counts_are_light_on_dark_cells(tmp_path, drawn):
    counts = np.array([[500, 9, 1], [0, 500, 2], [5, 0, 500]])
    draw_confusion_matrix(tmp_path / "matrix.png", counts, "abc")
    colours = {text.get_text(): text.get_color() for text in drawn[0].axes[0].texts}
    assert {count for count, colour in colours.items() if colour == "white"} == {"9", "5"}


@pytest.mark.parametrize("classes", [120, pytest.param(700, marks=pytest.mark.long)])
def test_many_classes_stay_on_a_page(tmp_path, drawn, classes):
    names = [f"class {number}" for number in range(classes)]
    draw_confusion_matrix(tmp_path / "matrix.png", np.eye(classes, dtype=int), names)
    assert max(drawn[0].get_size_inches()) < 60
    assert len(drawn[0].axes[0].get_xticks()) <= 100


@pytest.mark.parametrize("epochs", [1, 2, 3, 15])
def test_ticks_stand_at_whole_epochs(tmp_path, drawn, epochs):
    lines = [{"epoch": n, "train_loss": 1 / n, "train_accuracy": 0.5} for n in range(1, epochs + 1)]
    draw_learning_curves(tmp_path / "curves.png", {"run": lines})
    for axes in drawn[0].axes:
        ticks = np.asarray(axes.get_xticks())
        assert np.array_equal(ticks, ticks.round()) and ((ticks >= 1) & (ticks <= epochs)).any()
