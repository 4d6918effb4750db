"""Everything that the documentation says runs, and gives what it says."""

import ast
import doctest
import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "dilax").rglob("*.py")
    if path.name != "__main__.py"
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def snippets(page: pathlib.Path) -> list[str]:
    """The Python blocks of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=FLAGS)
    assert not failed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_of_a_page_run_in_order(page: pathlib.Path, tmp_path, monkeypatch) -> None:
    """One after the other in one namespace, as a reader would paste them."""
    blocks = snippets(page)
    assert blocks, f"{page.name} has no Python snippet"
    monkeypatch.chdir(tmp_path)
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


def test_a_wrong_value_beside_an_expression_is_noticed() -> None:
    run_and_compare("x = 3\nx  # 3\nx > 2  # True: it is\n", {}, "right")
    with pytest.raises(AssertionError, match="wrong: x"):
        run_and_compare("x = 3\nx  # 4\n", {}, "wrong")
