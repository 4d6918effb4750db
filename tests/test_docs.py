"""All code in the documentation runs and gives the stated values; commands and files exist."""

import ast
import dataclasses
import doctest
import importlib
import pathlib
import re
import shlex

import pytest
import tyro
from PIL import Image

from dilax import data, models
from tests.networks import drawn_network

pytestmark = pytest.mark.usefixtures("compile_quickly")
ROOT = pathlib.Path(__file__).parents[1]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "dilax").rglob("*.py")
    if path.name != "__main__.py"
)
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
]


def snippets(page: pathlib.Path) -> list[str]:
    """The Python blocks of a page, in order; of a notebook, its cells without their options."""
    found = re.findall(
        r"^```(?:python|\{code-cell\}.*)\n((?::.*\n)*)(.*?)^```",
        page.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    return [block for _, block in found]


def commands(page: pathlib.Path) -> list[list[str]]:
    """The calls of programs under ``experiments/`` on a page: the file, then its flags."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    calls = [
        call
        for block in blocks
        for call in re.findall(r"python (experiments/\S+\.py(?:\"[^\"\n]*\"|[^\"#\n&])*)", block)
    ]
    return [shlex.split(call) for call in calls]


PAGES_WITH_CODE = [page for page in PAGES if snippets(page)]
COMMANDS = [command for page in PAGES for command in commands(page)]


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=FLAGS)
    assert not failed


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> pathlib.Path:
    """What the pages name: the folder of a short run, another network, a folder with a picture."""
    place = tmp_path_factory.mktemp("reader")
    program = importlib.import_module("mnist_dsdc")
    flags = ["--limit", "256", "--epochs", "1", "--no-pictures"]
    assert program.main([*flags, "--output", str(place / "runs" / "mnist_dsdc")]) == 0
    description = models.Description(
        model="deeplab_dsdc",
        task="segmentation",
        class_names=("background", *"0123456789"),
        preparation=models.Preparation(height=72, width=72, mean=(0.1,), std=(0.2,)),
        options={"kernel_dilation": (1,)},  # one block, which is drawn sooner
    )
    segmenter = models.TrainedSegmenter(drawn_network(description), description)
    models.save(segmenter, place / "runs" / "segmentation")
    described = dataclasses.replace(
        description, model="centers_dsdc", task="detection", class_names=tuple("0123456789")
    )
    detector = models.TrainedDetector(drawn_network(described), described)
    models.save(detector, place / "runs" / "detection")
    words = models.TextPreparation.of_texts(["A warm, funny film.", "Dull."])
    description = models.Description(
        model="text_dsdc",
        task="text_classification",
        class_names=("negative", "positive"),
        preparation=words,
        options={"words": len(words.vocabulary)},
    )
    of_texts = models.TrainedTextClassifier(drawn_network(description), description)
    models.save(of_texts, place / "runs" / "text")
    described = dataclasses.replace(
        segmenter.description,
        model="sr_dsdc",
        task="super_resolution",
        class_names=(),
        preparation=models.Preparation(height=24, width=24, mean=(0.0,) * 3, std=(1.0,) * 3),
    )
    resolver = models.TrainedSuperResolver(drawn_network(described), described)
    models.save(resolver, place / "runs" / "super_resolution")
    forms = models.TaggingPreparation.of_texts([("5", "Main", "St.")])
    description = models.Description(
        model="tagger_dsdc",
        task="tagging",
        class_names=("number", "street"),
        preparation=forms,
        options={"sizes": forms.sizes},
    )
    models.save(
        models.TrainedTagger(drawn_network(description), description), place / "runs/tagging"
    )
    described = dataclasses.replace(
        segmenter.description,
        model="tcn_dsdc",
        task="sound_classification",
        class_names=tuple("0123456789"),
        preparation=models.SoundPreparation(mean=(-5.0,) * 40, std=(2.0,) * 40),
    )
    of_sounds = models.TrainedSoundClassifier(drawn_network(described), described)
    models.save(of_sounds, place / "runs" / "speech")
    description = models.Description(
        model="tcn_dsdc",
        task="series_classification",
        class_names=tuple("123456"),
        preparation=models.SeriesPreparation(mean=(0.0,), std=(1.0,)),
        options={"in_features": 1},
    )
    of_series = models.TrainedSeriesClassifier(drawn_network(description), description)
    models.save(of_series, place / "runs" / "time_series")
    (place / "new.ts").write_text("@univariate true\n@data\n1,2,3\n")
    description = models.Description(
        model="video_dsdc",
        task="video_classification",
        class_names=data.ACTIONS,
        preparation=models.VideoPreparation(
            frames=12, height=32, width=32, mean=(0.1,), std=(0.3,)
        ),
    )
    videos = models.TrainedVideoClassifier(drawn_network(description), description)
    models.save(videos, place / "runs" / "video")
    (place / "photos").mkdir()
    pixels = data.load("mnist").splits["train"].images[0, ..., 0]
    Image.fromarray(pixels).save(place / "photos" / "page.png")
    return place


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: page.name)
def test_snippets_of_a_page_run_in_order(
    page: pathlib.Path, request, tmp_path, monkeypatch
) -> None:
    """The snippets of a page run in order in one namespace, as if a reader pasted them."""
    blocks = snippets(page)
    needs_run = any("runs/" in block for block in blocks)
    monkeypatch.chdir(request.getfixturevalue("trained") if needs_run else tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for number, block in enumerate(blocks, 1):
        label = f"{page.name}, snippet {number}"
        if ">>>" in block:
            test = doctest.DocTestParser().get_doctest(block, namespace, label, str(page), 0)
            assert not runner.run(test, clear_globs=False).failed, label
            namespace.update(test.globs)
        else:
            run_and_compare(block, namespace, label)


def run_and_compare(block: str, namespace: dict[str, object], label: str) -> None:
    """Run a snippet; each ``expression  # value`` must give it (what follows a colon explains)."""
    lines = block.splitlines()
    for node in ast.parse(block).body:
        stated = lines[node.end_lineno - 1][node.end_col_offset :].strip(" #").split(":")[0]
        if isinstance(node, ast.Expr) and stated:
            value = eval(compile(ast.Expression(node.value), label, "eval"), namespace)
            assert repr(value) == stated, f"{label}: {ast.unparse(node)}"
        else:
            exec(compile(ast.Module([node], []), label, "exec"), namespace)


def test_the_pages_with_code_are_found() -> None:
    names = {page.name for page in PAGES_WITH_CODE}
    assert {"README.md", "functions.md", "drop_in.md", "pictures.md"} <= names
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_have_flags_that_exist(command: list[str]) -> None:
    """The program is there, and takes the flags; it is not run."""
    path, *flags = command
    assert (ROOT / path).is_file()
    config = getattr(importlib.import_module(pathlib.Path(path).stem), "Config", None)
    if config is not None:
        assert dataclasses.is_dataclass(tyro.cli(config, args=flags))
    else:
        known = getattr(importlib.import_module(pathlib.Path(path).stem), "NAMES", ())
        assert set(flags) <= set(known), f"{path} has no Config, and does not know {flags}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: pathlib.Path) -> None:
    """Names in capitals are placeholders, and the built site is not in the repository."""
    named = re.findall(r"`((?:dilax|docs|experiments|tests)/[\w./]*)`", page.read_text())
    kept = [name for name in named if not re.search("[A-Z]{3}|_build", name)]
    assert [name for name in kept if not (ROOT / name).exists()] == []


def test_the_readme_fits_its_length() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_a_wrong_value_beside_an_expression_is_noticed() -> None:
    run_and_compare("x = 3\nx  # 3\nx > 2  # True: it is\n", {}, "right")
    with pytest.raises(AssertionError, match="wrong: x"):
        run_and_compare("x = 3\nx  # 4\n", {}, "wrong")
