"""What the documentation names is there."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
ROWS = [
    line.strip("|").split("|")
    for line in (DOCS / "paper_to_code.md").read_text().splitlines()
    if re.match(r"\| \d", line)
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1].strip()[:40])
def test_each_sentence_of_the_paper_has_its_code_and_its_test(row):
    _, _, _, code, test = row
    for cell, kinds in ((code, ("class ", "def ")), (test, ("def ",))):
        file, name = re.findall(r"`([^`]+)`", cell)
        source = (DOCS.parent / file).read_text()
        assert any(re.search(rf"^ *{kind}{name}\b", source, re.MULTILINE) for kind in kinds), cell


def test_the_table_has_rows():
    assert len(ROWS) > 12


@pytest.mark.parametrize(
    "page", [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    for name in re.findall(
        r"`((?:sksiamese|tests|benchmarks|examples|tools|docs)/[^`*\s]+)`", page.read_text()
    ):
        file, _, test = name.partition("::")
        assert (DOCS.parent / file).exists(), name
        assert not test or re.search(
            rf"^def {test}\b", (DOCS.parent / file).read_text(), re.MULTILINE
        ), name
