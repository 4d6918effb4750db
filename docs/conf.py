"""Configure Sphinx: ``sphinx-build -W -b html docs docs/_build`` builds the site offline."""

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any, cast, get_origin

from dilax import __version__

HERE = Path(__file__).parent
HIDDEN_COLON = "\ue000"

project = "dilax"
author = "The dilax authors"
copyright = "The dilax authors"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "jupyter_execute"]

highlight_language = "none"

html_theme = "furo"
html_title = "dilax"
html_static_path = ["_static"]
html_css_files = ["dilax.css"]
html_copy_source = False
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {
    name: name
    for name in (
        *("ArrayLike", "DTypeLike", "PaddingLike", "Initializer", "Activation"),
        *("lax.PrecisionLike", "jax.lax.PrecisionLike", "jax.nn.initializers.Initializer"),
    )
}
python_maximum_signature_line_length = 88
napoleon_use_ivar = True
napoleon_use_rtype = False


def link_results(app: Any, docname: str, source: list[str]) -> None:
    """Redirect links to reports under ``experiments/results`` to the pages that include them."""
    results = "results" if "/" not in docname else "../results"
    for page in (HERE / "results").glob("*.md"):
        source[0] = re.sub(
            rf"\((?:\.\./)*experiments/results/{re.escape(page.name)}\)",
            f"({results}/{page.name})",
            source[0],
        )


def skip_field(
    app: Any, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out fields of named tuples that have no docstring of their own."""
    alias = (getattr(member, "__doc__", None) or "").startswith("Alias for field number")
    return True if alias else None


def hide_from_napoleon(
    app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Drop docstrings that constants inherit from their type, and hide colons in the first line.

    In the docstring of an attribute, napoleon takes the text before a colon as the type.
    """
    types = [inspect.getdoc(kind) or "" for kind in (type(value), get_origin(value))]
    if what == "data" and lines and any(text.startswith(lines[0]) for text in types):
        lines.clear()
    if what in ("attribute", "data", "property"):
        lines[:1] = [line.replace(":", HIDDEN_COLON) for line in lines[:1]]


def show_colons(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Restore the colons that ``hide_from_napoleon`` replaced."""
    lines[:] = [line.replace(HIDDEN_COLON, ":") for line in lines]


def sign(
    app: Any, what: str, name: str, value: Any, options: Any, signature: str, returns: str
) -> tuple[str, str | None] | None:
    """Show the constructor's signature for a Flax module, and type aliases by their names."""
    hidden = what == "class" and (signature or "").startswith("(*args: Any")
    if hidden and inspect.isfunction(value.__init__):
        source = textwrap.dedent(inspect.getsource(value.__init__))
        constructor = cast(ast.FunctionDef, ast.parse(source).body[0])
        del constructor.args.args[0]
        return f"({ast.unparse(constructor.args)})", None
    if "TypeAliasForwardRef" not in (signature or ""):
        return None
    return re.sub(r"TypeAliasForwardRef\('([\w.]+)'\)", r"\1", signature), returns


def setup(app: Any) -> None:
    """Register the functions above with Sphinx."""
    app.connect("source-read", link_results)
    app.connect("autodoc-skip-member", skip_field)
    app.connect("autodoc-process-docstring", hide_from_napoleon, priority=0)
    app.connect("autodoc-process-docstring", show_colons, priority=1000)
    app.connect("autodoc-process-signature", sign)
