"""Configure Sphinx: ``sphinx-build -W -b html docs docs/_build`` builds the site offline."""

import re
from pathlib import Path
from typing import Any

from dilax import __version__

HERE = Path(__file__).parent

project = "dilax"
author = "The dilax authors"
copyright = "The dilax authors"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "jupyter_execute"]

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
python_maximum_signature_line_length = 88
napoleon_use_ivar = True
napoleon_use_rtype = False


def link_results(app: Any, docname: str, source: list[str]) -> None:
    """Lead links to reports among the records to the pages that show those reports."""
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
    """Leave out the fields of named tuples, which have no words of their own."""
    alias = (getattr(member, "__doc__", None) or "").startswith("Alias for field number")
    return True if alias else None


def setup(app: Any) -> None:
    """Connect what is above."""
    app.connect("source-read", link_results)
    app.connect("autodoc-skip-member", skip_field)
