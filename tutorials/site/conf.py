"""Sphinx's settings for the annotated spec; ``python -m tutorials.site`` passes its pages."""

import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

project = "minisn"
html_title = "minisn, annotated"
extensions = ["myst_nb", "tutorials.site.mathml"]
exclude_patterns = ["_static"]

nb_execution_mode = "off"
nb_code_prompt_show = "A solution"
nb_code_prompt_hide = "A solution"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 0
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries = False
smartquotes = False
default_role = "literal"
nitpick_ignore_regex = [("py:class", ".*")]  # annotations name NumPy's and Python's types too

html_theme = "furo"
html_math_renderer = "mathml"
html_css_files = ["style.css"]
html_copy_source = False
html_domain_indices = False
html_show_sphinx = False
html_show_copyright = False
templates_path: list[str] = []
pygments_style = "tango"
pygments_dark_style = "monokai"


def setup(app: Sphinx) -> None:
    """Let the sidebar open only the part that a page is in."""
    app.connect("html-page-context", _fold_sidebar, priority=100)  # before the theme's own


def _fold_sidebar(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    whole = context["toctree"]
    context["toctree"] = lambda **settings: whole(**{**settings, "collapse": True})
