"""The program that makes a page for drawing: its files, without a browser."""

import contextlib
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import urllib.request

import draw
import jax
import numpy as np
import pytest
from common import onnx_web
from common.serving import address, make_server
from PIL import Image, ImageDraw

from dilax import data, models

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")
RUNTIME = {name: name.encode() for name in onnx_web.CHECKSUMS}
"""Stands for the files of onnxruntime-web."""
SIDE, PEN = 512, 40
"""Of the page's canvas, and of a stroke on it."""


def preparation(**changed):
    form = {"height": 28, "width": 28, "mean": (0.13,), "std": (0.31,), "object_size": 20}
    return models.Preparation(**form | changed)


def described(name, *, mirrored=False, **changed):
    return models.Description(
        model=name,
        class_names=tuple("0123456789"),
        preparation=preparation(**changed),
        mirrored=mirrored,
    )


def untrained(name, **changed):
    description = described(name, **changed)
    return models.TrainedClassifier(description.create(), description)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    models.save(untrained("mnist_textbook"), path)
    return path


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runtime")
    for name, content in RUNTIME.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def page(network, runtime, tmp_path_factory, module_compiles_quickly):
    """A folder that the program wrote."""
    pytest.importorskip("jax2onnx", reason="the extra interop is not installed")
    folder = tmp_path_factory.mktemp("page") / "drawing"
    with jax.numpy_rank_promotion("allow"):
        assert draw.main([str(network), *flags(folder, runtime)]) == 0
    return folder


def flags(output, runtime):
    return ["--output", str(output), "--runtime", str(runtime), "--no-serve"]


# --- the folder -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # of jax2onnx
def test_the_folder_has_all_that_the_page_names_and_nothing_else(page, network):
    files = {path.name: path.read_bytes() for path in page.iterdir()}
    named = {"index.html", "network.json"}
    for name in ("index.html", "draw.mjs", "prepare.mjs"):
        text = files[name].decode()
        named |= set(re.findall(r'"(?:\./)?([\w.-]+\.(?:mjs|css|onnx|json))"', text))
        assert "://" not in text, f"{name} names another host"
    assert set(files) == named | {"ort-wasm-simd-threaded.wasm"}  # which the runtime itself reads
    assert {name: files[name] for name in RUNTIME} == RUNTIME
    assert json.loads(files["network.json"]) == {
        "model": "mnist_textbook",
        "classes": list("0123456789"),
        "height": 28,
        "width": 28,
        "objectSize": 20,
        "block": "first",
    }
    assert [path.name for path in page.parent.iterdir()] == ["drawing"]


@pytest.mark.filterwarnings("ignore")  # of jax2onnx
def test_onnx_runtime_gives_the_probabilities_and_the_first_block(page, network):
    runtime = pytest.importorskip("onnxruntime", reason="the extra interop is not installed")
    model = models.load(network)
    digits = data.load("mnist").splits["test"].images[:3]
    layers = jax.jit(lambda image: model.network.activations(model.preparation.normalise(image)))
    session = runtime.InferenceSession(page / "network.onnx")
    (given,) = session.get_inputs()
    for digit in digits:
        image = digit[None] / np.float32(255)
        probabilities, maps = session.run(None, {given.name: image})
        expected = model.predict(digit).probabilities
        np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(maps, layers(image)["first"], rtol=1e-4, atol=1e-5)


def test_a_network_that_is_averaged_over_mirror_images_answers_so():
    model = untrained("mnist_tutorial", mirrored=True)
    digit = data.load("mnist").splits["test"].images[0]
    probabilities, maps = draw.answering(model)(digit[None] / np.float32(255))
    np.testing.assert_allclose(probabilities, model.predict(digit).probabilities, rtol=1e-5)
    assert maps.shape == (1, 28, 28, 32)


class Flat(models.Classifier):
    """A network without a block."""

    def activations(self, images):
        return {"stem": images, "logits": images.reshape(len(images), -1)[:, :10]}


def test_a_network_without_blocks_gives_its_probabilities_alone():
    model = models.TrainedClassifier(Flat(), described("mnist_dsdc"))
    assert draw.first_block(model) is None
    (probabilities,) = draw.answering(model)(np.zeros((1, 28, 28, 1), np.float32))
    np.testing.assert_allclose(probabilities, np.full((1, 10), 0.1))


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "new" / "drawing"
    draw.write_folder(folder, {"index.html": b"first", "network.onnx": b"first"})
    draw.write_folder(folder, {"index.html": b"second"})
    assert [path.name for path in folder.iterdir()] == ["index.html"]
    with pytest.raises(OSError):
        draw.write_folder(folder, {"index.html": b"third", "nowhere/draw.css": b""})
    assert (folder / "index.html").read_bytes() == b"second"
    assert [path.name for path in folder.parent.iterdir()] == ["drawing"]


# --- the drawing becomes an image -----------------------------------------------------------------

STROKES = {
    "7": [[(0.3, 0.2), (0.7, 0.2)], [(0.7, 0.2), (0.45, 0.85)]],
    "1": [[(0.5, 0.15), (0.48, 0.85)]],
    "4, small and in a corner": [
        [(0.1, 0.1), (0.08, 0.2), (0.2, 0.2)],
        [(0.17, 0.12), (0.17, 0.3)],
    ],
    "X, over the edges": [[(0.02, 0.02), (0.98, 0.98)], [(0.98, 0.02), (0.02, 0.98)]],
}
RUN = """
import {{ readFileSync }} from "node:fs";
const {{ prepare }} = await import({module});
const ink = new Uint8Array(readFileSync({ink}));
const image = prepare(ink, {side}, {{ height: 28, width: 28, objectSize: 20 }});
console.log(JSON.stringify(image && Array.from(image)));
"""


def inked(strokes):
    """What is in each pixel of the page's canvas, for strokes with round ends."""
    fine = 2  # pixels of this picture for each of the canvas
    picture = Image.new("L", (fine * SIDE, fine * SIDE))
    pen, radius = ImageDraw.Draw(picture), fine * PEN / 2
    for stroke in strokes:
        points = [(fine * SIDE * x, fine * SIDE * y) for x, y in stroke]
        pen.line(points, fill=255, width=fine * PEN)
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def prepared(ink, path):
    """What the page makes of a drawing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    path.write_bytes(ink.tobytes())
    module = json.dumps((draw.PAGE / "prepare.mjs").as_uri())
    code = RUN.format(module=module, ink=json.dumps(str(path)), side=SIDE)
    command = [node, "--input-type=module", "-e", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    image = json.loads(done.stdout)
    return image and np.array(image).reshape(28, 28)


@pytest.mark.parametrize("name", STROKES)
def test_a_drawing_becomes_nearly_the_image_that_python_makes_of_it(name, tmp_path):
    """Python first halves a picture, which may move an edge by half of a larger pixel.

    The smallest drawing is scaled by nearly 1 / 4, so two of its pixels are half a pixel of the
    image, and an edge between them moves by a quarter at most.
    """
    ink = inked(STROKES[name])
    found = prepared(ink, tmp_path / "ink")
    expected = preparation().from_array(ink)[..., 0] / 255
    assert expected.max() == found.max() == 1
    assert np.abs(found - expected).max() < 1 / 4
    assert np.abs(found - expected).mean() < 1 / 100


def test_a_bar_fills_its_box_and_stands_in_the_middle(tmp_path):
    """A bar of 300 x 60 pixels, scaled by 20 / 300, is one of 20 x 4."""
    ink = np.zeros((SIDE, SIDE), np.uint8)
    ink[100:400, 30:90] = 255
    expected = np.zeros((28, 28))
    expected[4:24, 12:16] = 1
    np.testing.assert_array_equal(prepared(ink, tmp_path / "ink"), expected)


def test_a_blank_drawing_is_none(tmp_path):
    assert prepared(np.zeros((SIDE, SIDE), np.uint8), tmp_path / "ink") is None


# --- the runtime ----------------------------------------------------------------------------------


@pytest.fixture
def install_npm(tmp_path, monkeypatch):
    """Put a program named ``npm`` alone on the path, which gives a package with these files."""
    monkeypatch.setenv("DILAX_CACHE", str(tmp_path / "cache"))
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in RUNTIME.items()}
    monkeypatch.setattr(onnx_web, "CHECKSUMS", sums)

    def install(files):
        with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(f"package/dist/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        program = tmp_path / "bin" / "npm"
        program.parent.mkdir(exist_ok=True)
        copied = str(tmp_path / "package.tgz")
        program.write_text(f"#!{sys.executable}\nimport shutil\nshutil.copy({copied!r}, '.')\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))

    return install


def test_npm_is_asked_once_and_again_for_a_damaged_file(tmp_path, install_npm, monkeypatch):
    install_npm(RUNTIME)
    assert onnx_web.read_runtime(None) == RUNTIME
    path = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert onnx_web.read_runtime(None) == RUNTIME
    (kept,) = (tmp_path / "cache").iterdir()
    (kept / "ort.wasm.bundle.min.mjs").write_bytes(b"other")
    with pytest.raises(data.DataError, match="npm must be installed"):
        onnx_web.read_runtime(None)
    monkeypatch.setenv("PATH", str(path))
    assert onnx_web.read_runtime(None) == RUNTIME


def test_a_package_with_another_file_is_refused(tmp_path, install_npm):
    install_npm(RUNTIME | {"ort.wasm.bundle.min.mjs": b"other"})
    with pytest.raises(data.DataError, match=r"ort.wasm.bundle.min.mjs of .* must have the SHA-25"):
        onnx_web.read_runtime(None)
    install_npm({"ort.wasm.bundle.min.mjs": b"other"})
    with pytest.raises(data.DataError, match=r"package.tgz is damaged; .*ort-wasm-simd-threaded"):
        onnx_web.read_runtime(None)
    assert not (tmp_path / "cache").exists()


# --- the server -----------------------------------------------------------------------------------


@contextlib.contextmanager
def served(folder):
    with make_server(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_files_have_the_types_that_browsers_demand(tmp_path):
    types = {
        "index.html": "text/html; charset=utf-8",
        "draw.css": "text/css; charset=utf-8",
        "draw.mjs": "text/javascript; charset=utf-8",
        "network.json": "application/json",
        "network.onnx": "application/octet-stream",
        "ort.wasm": "application/wasm",
    }
    for name in types:
        (tmp_path / name).write_text(name)
    with served(tmp_path) as server:
        for name, kind in types.items():
            with urllib.request.urlopen(address(server) + name) as answer:
                assert (answer.read().decode(), answer.headers["Content-Type"]) == (name, kind)


def test_a_port_in_use_is_named(tmp_path):
    with served(tmp_path) as server:
        port = server.server_address[1]
        with pytest.raises(OSError, match=f"port {port} cannot be opened: .*; give another --port"):
            make_server(tmp_path, port)


# --- what cannot be done --------------------------------------------------------------------------


def say_no(arguments, capsys):
    """Run the program, which must fail; return the one line that it says."""
    try:
        assert draw.main(arguments) == 2
    except SystemExit as stop:  # of tyro, for a wrong flag
        assert stop.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_no_network_and_a_wrong_port(runtime, tmp_path, capsys):
    output = tmp_path / "drawing"
    assert "nowhere does not exist" in say_no(["nowhere", *flags(output, runtime)], capsys)
    given = ["nowhere", "--port", "65536"]
    assert "--port must be in 0 to 65535, got 65536" in say_no(given, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changed", [{"object_size": None}, {"mean": (0.5,) * 3, "std": (0.2,) * 3}]
)
def test_a_network_of_other_images_is_refused(changed, runtime, tmp_path, capsys):
    models.save(untrained("mnist_tutorial", **changed), tmp_path / "other.safetensors")
    given = [str(tmp_path / "other.safetensors"), *flags(tmp_path / "drawing", runtime)]
    shape = "28x28x3" if "mean" in changed else "28x28x1"
    said = (
        f"bright digits on black, .* got mnist_tutorial for other images of {shape}; train one with"
    )
    assert re.search(said, say_no(given, capsys))
    assert not (tmp_path / "drawing").exists()


def test_a_folder_without_the_runtime_is_named(network, tmp_path, capsys):
    (tmp_path / "ort.wasm.bundle.min.mjs").write_bytes(b"")
    said = say_no([str(network), *flags(tmp_path / "drawing", tmp_path)], capsys)
    assert said.startswith("--runtime must be a folder with ort.wasm.bundle.min.mjs and ")
    assert said.endswith(f"got {tmp_path} without ort-wasm-simd-threaded.wasm.")
    assert not (tmp_path / "drawing").exists()


def test_without_npm_it_is_named(network, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DILAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    given = [str(network), "--output", str(tmp_path / "drawing"), "--no-serve"]
    said = say_no(given, capsys)
    assert "npm must be installed" in said and "--runtime" in said
    assert not list(tmp_path.iterdir())


def test_without_jax2onnx_it_is_named(network, runtime, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    said = say_no([str(network), *flags(tmp_path / "drawing", runtime)], capsys)
    assert 'pip install "dilax-jax[interop]"' in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["a folder with other files", "a file"])
def test_what_the_program_did_not_write_stays(kind, network, runtime, tmp_path, capsys):
    output = tmp_path / "thesis"
    if kind == "a file":
        output.write_text("text")
    else:
        output.mkdir()
        (output / "index.html").write_text("text")
        (output / "thesis.pdf").write_text("text")
    said = say_no([str(network), *flags(output, runtime)], capsys)
    assert said.startswith("--output must be a new folder, or one that this program wrote, got ")
    assert said.endswith("which is a file." if kind == "a file" else "which holds thesis.pdf.")
    kept = [output] if kind == "a file" else list(output.iterdir())
    assert kept and all(path.read_text() == "text" for path in kept)
