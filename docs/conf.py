"""Sphinx settings of the site. The pages are put together by build.py: `python docs/build.py`."""

from __future__ import annotations

import sys
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.inspect import signature, stringify_signature
from traitlets import HasTraits

import notebook_kit
from notebook_kit.lazy import exports

sys.path.insert(0, str(Path(__file__).parent))
from docstrings import restructured

project = "notebook_kit"
author = "the notebook_kit authors"
copyright = f"2026, {author}. Apache-2.0"
version = release = notebook_kit.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
nitpicky = True
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(?!notebook_kit\.).*",
    ),  # types of other packages: their sites may be out of reach while this one is built
    (r"py:.*", r"notebook_kit\.\w+\..*"),  # types that are not public names, which have no page
]

# API pages
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
SECTIONS = [
    "Options",
    "Args of the call",
    "Length",
    "How the next token is chosen",
    "Penalties and rules",
    "Tokens",
    "Result",
]
napoleon_custom_sections = [(section, "params_style") for section in SECTIONS]
default_role = "code"
add_module_names = False

# Tutorials: they have run before they come here
nb_execution_mode = "off"
nb_mime_priority_overrides = [("html", "text/html", 5)]  # a panel's page, before the widget that needs a kernel
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Looks
html_math_renderer = "mathml"
html_theme = "furo"
html_title = "notebook_kit"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["live_panels.js"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"


HOMES = {
    f"{resolve_name(home, package)}.{name}": f"{package}.{name}"
    for package in ("notebook_kit", "notebook_kit.panels")
    for name, home in exports(package).items()
}


def read_backticks(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Before napoleon reads the sections of a docstring."""
    lines[:] = restructured("\n".join(lines)).split("\n")


def to_public_name(app: Sphinx, env: Any, node: Any, content: Any) -> Any:
    """A type hint names the module where a class lives; its page has the public name."""
    public = HOMES.get(node.get("reftarget", ""))
    if public is None:
        return None
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, content)


def is_inside(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what a panel has for its own page, not for those who use it."""
    inside = {"name", "workers", "speak", "check_cancelled", "offline_questions"}
    home = str(getattr(thing, "__module__", "")) if callable(thing) else "notebook_kit.panels"
    return True if name.startswith("answer_") or (name in inside and home.startswith("notebook_kit.panels")) else None


def of_constructor(app: Sphinx, what: str, name: str, thing: Any, options: Any, found: Any, returned: Any) -> Any:
    """The arguments of a widget: the signature of its class is that of `__new__`, which takes anything."""
    if what != "class" or not issubclass(thing, HasTraits):
        return None
    return stringify_signature(signature(thing.__init__, bound_method=True), unqualified_typehints=True), None


def formula(self: Any, node: Any) -> None:
    """A formula as MathML, which browsers draw with no script."""
    self.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("autodoc-process-docstring", read_backticks, priority=100)
    app.connect("autodoc-process-signature", of_constructor)
    app.connect("autodoc-skip-member", is_inside)
    app.connect("missing-reference", to_public_name)
