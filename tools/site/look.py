"""Open pages of the built site in Chromium, at two widths, light and dark, and report faults.

Faults are: a page that is wider than the screen, an image without alternative text, a message in
the console, a request to another host, and what axe-core calls serious or critical. The exit
status is 1 if there are any. Pictures of the pages are written for a look.

    apt-get install chromium chromium-driver && npm install --no-save axe-core
    python -m pip install selenium
    tox -e docs && python tools/site/look.py build/site
"""

import argparse
import http.server
import re
import sys
import threading
from functools import partial
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PAGES = [
    "index.html",
    "start.html",
    "paths.html",
    "results.html",
    "real_files.html",
    "extending.html",
    "project/contributing.html",
    "api.html",
    "api/sksiamese.SiameseOneShotClassifier.html",
    "auto_examples/index.html",
    "auto_examples/plot_pretrained.html",
    "draw/index.html",
]
SCREENS = {"wide": (1280, 900), "narrow": (390, 844)}
# Chromium may not ask its maker's hosts for anything.
OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
SERIOUS = """
const done = arguments[0];
axe.run(document, {resultTypes: ["violations"]}).then(found => done(
  found.violations.filter(v => ["serious", "critical"].includes(v.impact)).map(v =>
    `${v.id} (${v.nodes.length}): ${v.help}: ${v.nodes[0].html.slice(0, 200)}`)))
"""
REQUESTS = "return performance.getEntriesByType('resource').map(entry => entry.name)"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serve files and print nothing."""

    def log_message(self, *args):
        """Ignore the message."""


def faults(driver, address, axe):
    """Yield what is wrong with the page that is open."""
    wide, width = driver.execute_script(
        "return [document.documentElement.scrollWidth, window.innerWidth]"
    )
    if wide > width:
        yield f"{wide} pixels wide on a screen of {width}"
    for image in driver.execute_script(
        "return [...document.images].filter(i => !i.hasAttribute('alt')).map(i => i.src)"
    ):
        yield f"no alternative text: {image}"
    for message in driver.get_log("browser"):
        yield f"console: {message['message']}"
    for request in driver.execute_script(REQUESTS):
        if not request.startswith((address, "data:", "blob:")):
            yield f"request: {request}"
    # Colours are judged once they have changed.
    driver.execute_script("document.getAnimations().forEach(animation => animation.finish())")
    driver.execute_script(axe)
    yield from driver.execute_async_script(SERIOUS)


def main():
    """Look at each page, and return the number of faults."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("site", type=Path, help="folder of the built site")
    parser.add_argument("--pages", nargs="+", default=PAGES, help="default: twelve kinds")
    parser.add_argument("--pictures", type=Path, default=Path("build/look"))
    parser.add_argument("--axe", type=Path, default=Path("node_modules/axe-core/axe.min.js"))
    args = parser.parse_args()
    args.pictures.mkdir(parents=True, exist_ok=True)
    axe = args.axe.read_text(encoding="utf-8")

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=args.site.resolve())
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"

    options = webdriver.ChromeOptions()
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "WARNING"})
    n_faults = 0
    with webdriver.Chrome(options, Service("/usr/bin/chromedriver")) as driver:
        for page in args.pages:
            if not (args.site / page).exists():
                n_faults += 1
                print(f"{page}: does not exist")
                continue
            for screen, (width, height) in SCREENS.items():
                driver.execute_cdp_cmd(
                    "Emulation.setDeviceMetricsOverride",
                    {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
                )
                for scheme in "light", "dark":
                    driver.execute_cdp_cmd(
                        "Emulation.setEmulatedMedia",
                        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
                    )
                    driver.get(address + page)
                    found = list(faults(driver, address, axe))
                    n_faults += len(found)
                    for fault in found:
                        print(f"{page}, {screen}, {scheme}: {fault}")
                    name = re.sub(r"\W+", "_", page.removesuffix(".html"))
                    driver.save_screenshot(args.pictures / f"{name}_{screen}_{scheme}.png")
    server.shutdown()
    print(f"{len(args.pages)} pages, each at two widths, light and dark: {n_faults} faults")
    return n_faults


if __name__ == "__main__":
    sys.exit(min(main(), 1))
