"""Check that each link inside the built site leads to a file, and to a place in it.

python tools/site/links.py build/site
"""

import argparse
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the places that links can lead to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Note the attributes of an element."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name == "id" or (name == "name" and tag == "a"):
                self.places.add(value)


def broken_links(site):
    """Return pairs of a page and a link of it that leads nowhere; count the links."""
    site = site.resolve()
    found = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    pages = {path: Page(path) for path in found}
    broken, n_links = [], 0
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            n_links += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            places = pages[target].places if target in pages else {""}
            lost = parts.fragment and unquote(parts.fragment) not in places
            if lost or not (target.exists() and target.is_relative_to(site)):
                broken.append((path.relative_to(site), link))
    return broken, n_links, len(pages)


def main():
    """Print the broken links, and return their number."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("site", type=Path, help="folder of the built site")
    broken, n_links, n_pages = broken_links(parser.parse_args().site)
    for page, link in broken:
        print(f"{page}: {link} leads nowhere")
    print(f"{n_pages} pages, {n_links} links inside the site, {len(broken)} of them broken")
    return len(broken)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
