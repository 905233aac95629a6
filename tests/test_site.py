"""The sources of the site: what Sphinx cannot find wrong. `tox -e docs` builds it."""

import inspect
import re
import zlib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pydoc import locate

import pytest
from helpers import public_modules

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def read(file):
    return file.read_text(encoding="utf-8")


def load(file):
    """Import a script of the repository."""
    spec = spec_from_file_location(file.stem, file)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public_names():
    """Import paths of all classes, functions and constants that public modules list."""
    return {
        f"{path}.{name}"
        for path, module in public_modules().items()
        for name in module.__all__
        if not name.startswith("__") and not inspect.ismodule(getattr(module, name))
    }


def listed_names():
    """Import paths of the names in the tables of the API reference."""
    found, module = set(), None
    for line in read(DOCS / "api.rst").splitlines():
        if match := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = match[1]
        elif match := re.match(r"   ([\w.]+)$", line):
            found.add(f"{module}.{match[1]}")
    return found


def headings(page):
    """Anchors of the headings of a page, as in the repository browser."""
    text = re.sub(r"^```.*?^```", "", read(page), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_api_reference_lists_every_public_name():
    assert len(public_names()) > 60
    assert public_names() - listed_names() == set()


def test_api_reference_lists_names_that_exist():
    for path in listed_names():
        assert locate(path) is not None, path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings(page):
    for file, anchor in re.findall(r"\]\(([\w./]*)#([^)]+)\)", read(page)):
        assert anchor in headings(page.parent / file if file else page), f"{file}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_images_have_alternative_text(page):
    assert re.findall(r"!\[\s*\]\(.*", read(page)) == []


def test_index_code_runs(capsys):
    """The first code that a reader sees."""
    code = re.search(r"^```python\n(.*?)^```", read(DOCS / "index.md"), re.MULTILINE | re.DOTALL)
    assert len(code[1].strip().splitlines()) <= 10
    exec(code[1], {})
    right = re.fullmatch(r"(\d+) of 20 are correct\n", capsys.readouterr().out)
    assert int(right[1]) >= 18


def test_site_links_lead_to_pages_of_the_site():
    conf = load(DOCS / "conf.py")
    page = DOCS / "guide.md"
    text = (
        "[a](../CONTRIBUTING.md#rules) [b](pretrained.md#input) [c](../LICENSE) [d](#here) "
        "[e](../examples/plot_pretrained.py) [f](https://example.org/a.md)"
    )
    assert conf.site_links(text, page, page) == (
        "[a](project/contributing.md#rules) [b](pretrained.md#input) [c](../LICENSE) [d](#here) "
        "[e](auto_examples/plot_pretrained.rst) [f](https://example.org/a.md)"
    )
    copy = DOCS / "project/contributing.md"
    assert (
        conf.site_links("[a](docs/guide.md)", ROOT / "CONTRIBUTING.md", copy) == "[a](../guide.md)"
    )


def test_broken_links_are_those_that_lead_nowhere(tmp_path):
    text = '<a href="b.html#here"><a href="b.html#gone"><img src="c.png"><a href="https://d.org">'
    (tmp_path / "a.html").write_text(text)
    (tmp_path / "b.html").write_text('<p id="here"><a href="#here"><a href="../b.html">')
    broken, n_links, n_pages = load(ROOT / "tools/site/links.py").broken_links(tmp_path)
    assert [link for _, link in broken] == ["b.html#gone", "c.png", "../b.html"]
    assert (n_links, n_pages) == (5, 2)


def test_inventories_are_those_of_the_script():
    script = load(ROOT / "tools/inventories.py")
    assert {file.stem for file in script.FOLDER.iterdir()} == set(script.NAMES)
    for package in script.NAMES:
        body = (script.FOLDER / f"{package}.inv").read_bytes().split(b"\n", 4)[4]
        assert zlib.decompress(body).decode() == "".join(script.lines(package))
