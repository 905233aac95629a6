"""Sphinx makes the site of the Markdown pages, the docstrings and the examples: tox -e docs."""

import os
import re
import runpy
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.domains.python import ObjectEntry
from sphinx.environment import BuildEnvironment
from sphinx.ext.intersphinx import InventoryAdapter
from sphinx.util import logging
from sphinx.util.nodes import make_refnode
from sphinx.writers.html5 import HTML5Translator as HTMLTranslator

import sksiamese

logger = logging.getLogger(__name__)
DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.append(str(ROOT / "tools"))  # for gallery.py

project = "sksiamese"
author = "The sksiamese developers"
copyright = f"2026, {author}, BSD 3-Clause"
version = release = sksiamese.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["draw", "_*"]
templates_path = ["_templates"]
default_role = "py:obj"
nitpicky = True
smartquotes = False
toc_object_entries_show_parents = "hide"

# Pages: the files outside this folder that are pages of the site too, and the pages below others.

OUTSIDE = {
    "CONTRIBUTING.md": "project/contributing",
    "CHANGELOG.md": "project/changelog",
    "sksiamese/weights/symbols.md": "project/symbols",
    "sksiamese/weights/omniglot.md": "project/omniglot",
}
BELOW = {
    "guide": [
        "pretrained",
        "judging",
        "open_world",
        "verification",
        "fine_tuning",
        "extending",
        "tuning",
        "cross_validation",
        "series_tables_text",
        "command_line",
        "serving",
        "export",
        "scaling",
        "galleries",
        "checkpoints",
    ],
    "idea": ["five_ways", "paper_to_code", "motor_programs"],
    "results": ["real_files", "defaults", "search", "limits"],
    "project": [*OUTSIDE.values(), "citing"],
}
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
LINK = re.compile(r"(?<=\]\()(?!https:)([^)#\s]+)")


def site_links(text: str, source: Path, page: Path) -> str:
    """Return the text of a Markdown file with its links as they are on its page of the site."""

    def changed(link: re.Match) -> str:
        file = Path(os.path.normpath(source.parent / link[0]))
        name = file.relative_to(ROOT).as_posix()
        if name in OUTSIDE:
            file = DOCS / f"{OUTSIDE[name]}.md"
        elif name.startswith("examples/plot_"):
            file = DOCS / f"auto_examples/{file.stem}.rst"
        return Path(os.path.relpath(file, page.parent)).as_posix()

    return LINK.sub(changed, text)


def copy_outside_pages(app: Sphinx, config: object) -> None:
    """Write the pages of other folders to where Sphinx finds them."""
    for name, page in OUTSIDE.items():
        source, copy = ROOT / name, DOCS / f"{page}.md"
        text = site_links(source.read_text(encoding="utf-8"), source, copy)
        copy.parent.mkdir(exist_ok=True)
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")


def read_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Change the links of a page, and append the navigation to the pages below it."""
    file = DOCS / f"{page}.md"
    if file.exists() and page not in OUTSIDE.values():
        source[0] = site_links(source[0], file, file)
    if page in BELOW:
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", "", *BELOW[page], "```\n"])


# API reference

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    "Axes": "matplotlib.axes.Axes",
    "Bunch": "sklearn.utils.Bunch",
    "Figure": "matplotlib.figure.Figure",
    "Generator": "numpy.random.Generator",
    "Path": "pathlib.Path",
    "RandomState": "numpy.random.RandomState",
    "Tensor": "torch.Tensor",
    "callable": ":func:`callable <python:callable>`",
    "ndarray": "numpy.ndarray",
    "path-like": "os.PathLike",
}
# Single backticks are also around parameters, and around values in docstrings of scikit-learn.
nitpick_ignore_regex = [("py:obj", r"[a-z]\w*|X\w*"), ("py:obj", r".*[\[\"=].*")]


def documented(env: BuildEnvironment, name: str) -> tuple[str, ObjectEntry] | None:
    """Return the object of the API reference that a name means outside its module."""
    domain = env.domains.python_domain
    for scope in ("", "SiameseOneShotClassifier."):
        found = domain.find_obj(env, None, None, scope + name, "obj", searchmode=1)
        found = [match for match in found if not match[1].aliased]
        if len(found) == 1:
            return found[0]
    return None


def link(app: Sphinx, page: str, name: str, content: nodes.Node) -> nodes.Node | None:
    """Link a name to the API reference, if it is unlikely to be the name of a parameter."""
    if re.fullmatch(r"[a-z]+|\w*_", name) or not (match := documented(app.env, name)):
        return None
    full_name, entry = match
    if entry.docname == page:
        return None
    return make_refnode(app.builder, page, entry.docname, entry.node_id, content, full_name)


def link_missing(app: Sphinx, env: BuildEnvironment, node: nodes.Element, content: nodes.Node):
    """Link what single backticks mean, where it is in another module or package."""
    if node["refdomain"] != "py" or node["reftype"] != "obj":
        return None
    name = node["reftarget"]
    for kind in "py:class", "py:function":
        for full_name, item in InventoryAdapter(env).main_inventory.get(kind, {}).items():
            if full_name.endswith(f".{name}"):
                return nodes.reference("", "", content, internal=False, refuri=item.uri)
    return link(app, node["refdoc"], name, content)


def link_code(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Link the names of classes and functions in Markdown pages."""
    if not (DOCS / f"{page}.md").exists():
        return
    links = tree.findall(nodes.reference)
    linked = {code for node in links for code in node.findall(nodes.literal)}
    for code in set(tree.findall(nodes.literal)) - linked:
        name = code.astext().partition("(")[0]
        if node := link(app, page, name, code.deepcopy()):
            code.replace_self(node)


# Formulas, as MathML: browsers need no script for it.

html_math_renderer = "mathml"


def add_formula(self: HTMLTranslator, node: nodes.math | nodes.math_block) -> None:
    """Write a formula."""
    try:
        self.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    except MathError as error:
        logger.warning("%s", error, location=node)
    raise nodes.SkipNode


# Examples

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"^(?!plot_)",
    "within_subsection_order": "gallery.Order",
    "reset_argv": "gallery.arguments",
    "backreferences_dir": "api/examples",
    "doc_module": "sksiamese",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "only_warn_on_example_error": False,
}

# Names of other packages: tools/inventories.py makes these files, so that no network is needed.

intersphinx_mapping = {
    name: (url, f"_inventories/{name}.inv")
    for name, url in {
        "python": "https://docs.python.org/3/",
        "numpy": "https://numpy.org/doc/stable/",
        "sklearn": "https://scikit-learn.org/stable/",
        "torch": "https://docs.pytorch.org/docs/stable/",
        "skorch": "https://skorch.readthedocs.io/en/stable/",
        "matplotlib": "https://matplotlib.org/stable/",
    }.items()
}

# Look

html_theme = "pydata_sphinx_theme"
html_title = "sksiamese"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_sidebars = {"index": [], "start": [], "paths": [], "faq": [], "peers": []}
html_theme_options = {
    "logo": {"text": f"sksiamese {release}"},
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def mend_roles(app: Sphinx, page: str, template: str, context: dict, tree: object) -> None:
    """Remove the role "list" of references, which docutils gives to elements without items."""
    if "body" in context:
        context["body"] = context["body"].replace('<div role="list" class="cit', '<div class="cit')


def add_drawing_page(app: Sphinx, error: Exception | None) -> None:
    """Build the page that reads handwriting into the folder draw of the site."""
    if error is None and app.builder.name == "html":
        script = runpy.run_path(str(ROOT / "tools/draw/build.py"))
        script["build_draw"](Path(app.outdir) / "draw")


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("config-inited", copy_outside_pages)
    app.connect("source-read", read_page)
    app.connect("missing-reference", link_missing)
    app.connect("doctree-resolved", link_code)
    app.add_html_math_renderer("mathml", (add_formula, None), (add_formula, None))
    app.connect("html-page-context", mend_roles)
    app.connect("build-finished", add_drawing_page)
