"""The notebook for Colab: well formed, careful when it installs, and it runs from end to end."""

import ast
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, environment

NOTEBOOK = ROOT / "experiments" / "colab.ipynb"

# Runs code cells in one namespace, as a notebook does; a last expression is not shown.
RUN = """
import json, sys
namespace = {"__name__": "__main__"}
for name, source in json.load(sys.stdin):
    exec(compile(source, name, "exec"), namespace)
"""


@pytest.fixture(scope="module")
def notebook():
    return json.loads(NOTEBOOK.read_text())


def source(notebook, identity):
    (cell,) = [cell for cell in notebook["cells"] if cell["id"] == identity]
    return "".join(cell["source"])


def test_it_is_a_notebook_of_format_4_without_outputs(notebook):
    assert notebook["nbformat"] == 4 and notebook["nbformat_minor"] >= 5
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    identities = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identities)) == len(identities)
    for cell in notebook["cells"]:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])
        assert isinstance(cell["metadata"], dict)
        assert all(isinstance(line, str) for line in cell["source"])
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        common = {"id", "cell_type", "metadata", "source"}
        if cell["cell_type"] == "code":
            assert set(cell) == common | {"execution_count", "outputs"}
            assert cell["execution_count"] is None and cell["outputs"] == []
        else:
            assert cell["cell_type"] == "markdown" and set(cell) == common


def test_the_address_is_one_variable_and_a_marked_placeholder(notebook):
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (parameters,) = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert parameters is code[0]
    assert re.search(r'^REPOSITORY = "https://\S+"  # PLACEHOLDER', "".join(parameters["source"]))
    assert not any("https://" in "".join(cell["source"]) for cell in code[1:])


class Elsewhere:
    """A machine without dilax, on which commands are only written down."""

    def __init__(self, monkeypatch, folder, *, replaces=()):
        self.commands, self.constraints, self.replaces = [], "", replaces
        self.found = None
        version, find_spec = importlib.metadata.version, importlib.util.find_spec
        monkeypatch.chdir(folder)
        monkeypatch.setattr(subprocess, "run", self.run)
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name: self.found if name == "dilax" else find_spec(name),
        )
        monkeypatch.setattr(
            importlib.metadata,
            "version",
            lambda name: "99" if self.pip and name in self.replaces else version(name),
        )
        monkeypatch.setattr(sys, "path", list(sys.path))

    @property
    def pip(self):
        return [command for command in self.commands if "pip" in command]

    def run(self, command, **_):
        self.commands.append(list(command))
        if "clone" in command:
            program = Path(command[-1]) / "experiments" / "mnist_dsdc.py"
            program.parent.mkdir(parents=True)
            program.touch()
        if "--constraint" in command:
            self.constraints = Path(command[command.index("--constraint") + 1]).read_text()
        return subprocess.CompletedProcess(command, 0, "", "")


def install(notebook, repository="https://here.example/dilax"):
    exec(source(notebook, "install"), {"REPOSITORY": repository})


def test_elsewhere_it_installs_a_clone_beside_the_present_jax(
    notebook, tmp_path, monkeypatch, capsys
):
    machine = Elsewhere(monkeypatch, tmp_path)
    # A folder of that name is no installation, though Python would import it as a namespace.
    machine.found = importlib.machinery.ModuleSpec("dilax", None)
    install(notebook)
    assert [command[:2] for command in machine.commands] == [
        ["git", "clone"],
        [sys.executable, "-m"],
    ]
    assert machine.commands[0][-2] == "https://here.example/dilax"
    assert machine.pip[0][-1] == f"{tmp_path / machine.commands[0][-1]}[train]"
    assert machine.constraints.splitlines() == [
        f"{name}=={importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "flax")
    ]
    assert "with {'jax':" in capsys.readouterr().out
    install(notebook)  # again: the clone is there
    assert len(machine.commands) == 3 and "clone" not in machine.commands[-1]


@pytest.mark.parametrize("name", ["jax", "jaxlib", "flax"])
def test_another_version_after_installing_is_an_error(notebook, tmp_path, monkeypatch, name):
    Elsewhere(monkeypatch, tmp_path, replaces=[name])
    with pytest.raises(RuntimeError, match=rf"installing changed .*'{name}': '99'.*Disconnect"):
        install(notebook)


def test_the_placeholder_is_refused(notebook, tmp_path, monkeypatch):
    machine = Elsewhere(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match="REPOSITORY must be the address"):
        install(notebook, repository="https://host.example/OWNER/dilax")
    assert machine.commands == []


def test_every_name_that_the_cells_import_is_there(notebook):
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found = 0
    for node in ast.walk(ast.parse("\n".join(code))):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
            found += len(node.names)
    assert found > 5


@pytest.mark.long
def test_every_cell_runs_in_a_clone(notebook, tmp_path):
    """In a process of its own, in the folder of the notebook, with two devices and few images."""
    quick = {
        "EPOCHS": 1,
        "OUTPUT": str(tmp_path / "run"),
        "FLAGS": ["--dataset", "shapes", "--limit", "256", "--batch-size", "32"],
    }
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cells.append((cell["id"], "".join(cell["source"])))
        if "parameters" in cell["metadata"].get("tags", []):
            cells += [(name, f"{name} = {value!r}") for name, value in quick.items()]
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(cells),
        cwd=NOTEBOOK.parent,
        env=environment(JAX_NUM_CPU_DEVICES="2", MPLBACKEND="Agg"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"dilax of {ROOT}" in done.stdout
    assert "2 x cpu (" in done.stdout
    assert re.search(r"test accuracy \d+\.\d\d% with 7,938 parameters", done.stdout)
    assert "multiply-adds" in done.stdout and "the three agree on 100.00%" in done.stdout
    for way in ("one device", "jit", "pmap"):
        assert re.search(rf"^{way} +\d+\.\d\d% of 1024 test images$", done.stdout, re.MULTILINE)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["devices"] == 2 and summary["config"]["parallel"] == "jit"
