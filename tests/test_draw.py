"""The drawing page of the documentation, built and used in headless Chromium."""

import functools
import http.server
import importlib.util
import io
import shutil
import threading
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sksiamese import load_pretrained
from sksiamese.datasets import load_omniglot_minimal
from sksiamese.programs import parse

ROOT = Path(__file__).parents[1]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP, PHONE = (1280, 900), (390, 844)
RING = [(0.5 + 0.3 * np.cos(t), 0.5 + 0.3 * np.sin(t)) for t in np.linspace(0, 6.3, 20)]
CROSS = [[(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)]]
WAVE = [(x, 0.5 + 0.2 * np.sin(20 * x)) for x in np.linspace(0.1, 0.9, 30)]


def load_build():
    """Return the module that builds the page."""
    spec = importlib.util.spec_from_file_location("build_draw", ROOT / "tools/draw/build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the page, and notes what is asked for that is not there."""

    extensions_map = {".mjs": "text/javascript", ".js": "text/javascript", ".css": "text/css",
                      ".wasm": "application/wasm", ".html": "text/html"}  # fmt: skip
    missing = []

    def log_message(self, *args):
        pass

    def send_error(self, code, *args, **kwargs):
        self.missing.append((code, self.path))
        super().send_error(code, *args, **kwargs)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """The address of the page, built and served."""
    pytest.importorskip("selenium")
    pytest.importorskip("onnxscript")
    for program in ("chromium", "chromedriver", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("site") / "draw"
    load_build().build_draw(folder)
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Page:
    """The page in a browser, used as a person uses it."""

    def __init__(self, driver, origin):
        self.driver = driver
        self.origin = origin

    def load(self, size=DESKTOP, scheme="light"):
        width, height = size
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)
        self.driver.get(self.origin)
        self.wait(lambda: self.run("return document.body.dataset.ready"))
        return self

    def command(self, name, **arguments):
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def wait(self, condition):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 60, poll_frequency=0.02).until(lambda _: condition())

    def part(self, name):
        return self.driver.find_element("id", name)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def draw(self, strokes, kind="mouse"):
        """Draw strokes of points (x, y), in fractions of the pad, by pointer events."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder
        from selenium.webdriver.common.actions.pointer_input import PointerInput

        code = (
            "arguments[0].scrollIntoView({block: 'nearest'});"
            "const r = arguments[0].getBoundingClientRect(); return [r.x, r.y, r.width]"
        )
        left, top, side = self.run(code, self.part("pad"))
        actions = ActionBuilder(self.driver, mouse=PointerInput(kind, kind), duration=0)
        pointer = actions.pointer_action
        for stroke in strokes:
            points = [(round(left + x * side), round(top + y * side)) for x, y in stroke]
            pointer.move_to_location(*points[0]).pointer_down()
            for point in points:
                pointer.move_to_location(*point)
            pointer.pointer_up()
        actions.perform()

    def add(self, strokes, name):
        self.draw(strokes)
        self.part("name").send_keys(name)
        self.part("add-button").click()
        self.wait(lambda: name in self.symbols)

    def answer(self, strokes, kind="mouse"):
        """Return what the page says of a drawing, and the names of the nearest with percents."""
        self.draw(strokes, kind)
        self.wait(lambda: self.run("return !document.body.dataset.busy"))
        nearest = [item.text.split("\n") for item in self.all("#nearest li")]
        return self.part("answer").text, dict(nearest)

    @property
    def symbols(self):
        return [item.text for item in self.all("#symbols .name")]

    def clear(self):
        self.part("clear").click()

    def pixels(self):
        """Return what is drawn, (height, width)."""
        return pixels_of(self.run("return arguments[0].toDataURL()", self.part("pad")))


def pixels_of(url):
    """Return the gray pixels of a data URL."""
    with Image.open(io.BytesIO(b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("L"))


def strokes_of(drawing):
    """Return the strokes of a black drawing on white paper, in fractions of its side."""
    program = parse(drawing < 128, n_walks=1, use_primitives=False, n_points=32)[0]
    return [(points[:, ::-1] + 0.5) / len(drawing) for points in program.trajectories()]


@pytest.fixture(scope="module")
def page(origin):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Page(driver, origin)
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def played(page):
    """What the page said in an official run: labels, answers, percents, and all drawings."""
    run = load_omniglot_minimal().runs[1]
    page.load()
    for drawing, label in zip(run.support_images, run.support_labels, strict=True):
        page.add(strokes_of(drawing), str(label))
    answers, queries = [], []
    for drawing in run.query_images:
        is_doubted = page.part("doubt").is_displayed
        answers.append((*page.answer(strokes_of(drawing)), is_doubted()))
        queries.append(page.pixels())
        page.clear()
    support = [pixels_of(image.get_attribute("src")) for image in page.all("#symbols img")]
    first = page.run("return performance.getEntriesByName('answer')[0].duration")
    return run, answers, np.array(support), np.array(queries), first


def test_draw_page_labels_an_official_run(played):
    run, answers, *_ = played
    labels = [text.split()[0] for text, *_ in answers]
    assert np.mean(labels == run.query_labels) >= 0.95


def test_draw_page_answers_within_200_ms_of_loading(played):
    *_, first = played
    assert first < 200


def test_draw_page_agrees_with_the_classifier(played):
    run, answers, support, queries, _ = played
    clf = load_pretrained().set_params(precision="float32")
    clf.set_support(support, run.support_labels)
    p = clf.predict_proba(queries)
    is_unknown = clf.score_samples(queries) < clf.rejection_threshold_
    assert 0 < is_unknown.sum() < len(queries)
    np.testing.assert_array_equal([doubted for *_, doubted in answers], is_unknown)
    for (text, nearest, _), row in zip(answers, p, strict=True):
        best = np.argsort(-row)[:3]
        assert list(nearest) == clf.classes_[best].tolist()
        percents = [float(percent.split()[0]) for percent in nearest.values()]
        np.testing.assert_allclose(percents, 100 * row[best], atol=0.6)
        assert text == f"{clf.classes_[best[0]]} {nearest[clf.classes_[best[0]]]}"


def test_draw_page_asks_for_its_own_files_only(page, played):
    names = page.run("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert len(names) > 8
    assert [name for name in names if not name.startswith((page.origin, "data:"))] == []
    assert Handler.missing == []


def test_draw_page_writes_nothing_to_the_console(page, played):
    assert page.driver.get_log("browser") == []


def with_two_symbols(page, **how):
    page.load(**how)
    page.add([RING], "ring")
    page.add(CROSS, "cross")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_draw_page_is_accessible_and_no_wider_than_the_screen(page, size, scheme):
    with_two_symbols(page, size=size, scheme=scheme)
    assert page.answer([RING])[0].startswith("ring")
    page.run((load_build().CACHE / "node_modules/axe-core/axe.min.js").read_text())
    found = page.driver.execute_async_script("axe.run().then(arguments[0])")
    assert found["passes"]
    assert [
        (each["id"], each["impact"], each["nodes"][0]["html"]) for each in found["violations"]
    ] == []
    assert page.run("return document.documentElement.scrollWidth") <= size[0]
    assert page.run("return getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 24, 30)"
    )


def test_draw_page_takes_touch(page):
    with_two_symbols(page, size=PHONE)
    assert page.answer(CROSS, kind="touch")[0].startswith("cross")
    assert page.answer([], kind="touch")[1].keys() == {"cross", "ring"}


def test_draw_page_works_by_keyboard(page):
    from selenium.webdriver import ActionChains, Keys

    page.load()
    focused = lambda: page.driver.switch_to.active_element  # noqa: E731

    def press(*keys):
        ActionChains(page.driver).send_keys(*keys).perform()

    def tab_to(name):
        for _ in range(20):
            press(Keys.TAB)
            label = focused().get_attribute("aria-label") or focused().text
            if name in (focused().get_attribute("id"), label):
                assert (
                    page.run("return getComputedStyle(arguments[0]).outlineWidth", focused())
                    == "3px"
                )
                return
        raise AssertionError(f"no Tab leads to {name}")

    tab_to("pad")
    press(Keys.ARROW_LEFT)
    assert page.part("pen").is_displayed()
    assert page.pixels().min() == 255
    press(" ", *[Keys.ARROW_RIGHT] * 8, *[Keys.ARROW_DOWN] * 8, " ")
    press(" ", *[Keys.ARROW_LEFT] * 8, " ")
    two = (page.pixels() < 128).sum()
    ActionChains(page.driver).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    assert 0 < (page.pixels() < 128).sum() < two
    tab_to("name")
    press("hook", Keys.ENTER)
    page.wait(lambda: page.symbols == ["hook"])
    assert page.part("status").text == "Added hook."
    assert page.pixels().min() == 255
    tab_to("Delete hook")
    press(Keys.ENTER)
    page.wait(lambda: page.symbols == [])
    assert focused().get_attribute("id") == "pad"


def test_draw_page_undoes_clears_and_names_by_number(page):
    page.load()
    page.draw(CROSS)
    whole = page.pixels()
    page.part("undo").click()
    assert (page.pixels() < 128).sum() < (whole < 128).sum()
    page.clear()
    assert page.pixels().min() == 255
    assert not page.part("undo").is_enabled()
    page.draw(CROSS)
    page.part("add-button").click()
    page.wait(lambda: page.symbols == ["1"])


def test_draw_page_says_unknown_if_it_is_asked_to(page):
    with_two_symbols(page)
    text, nearest = page.answer([WAVE])
    assert text.split()[0] in nearest
    assert page.part("doubt").is_displayed()
    page.part("reject").click()
    page.wait(lambda: page.part("answer").text == "unknown")
    page.clear()
    assert page.answer([RING])[0].startswith("ring")
    assert not page.part("doubt").is_displayed()


def test_draw_page_takes_several_drawings_of_a_symbol(page):
    with_two_symbols(page)
    page.draw([WAVE])
    page.part("name").send_keys("ring")
    page.part("add-button").click()
    page.wait(lambda: page.symbols == ["ring (2)", "cross"])
    clf = load_pretrained().set_params(precision="float32")
    page.draw([RING])
    drawings = [page.pixels()]
    text, _ = page.answer([])
    for strokes in ([RING], CROSS, [WAVE]):
        page.clear()
        page.draw(strokes)
        drawings.append(page.pixels())
    clf.set_support(np.array(drawings[1:]), ["ring", "cross", "ring"])
    p = clf.predict_proba(drawings[:1])[0].max()
    np.testing.assert_allclose(float(text.split()[1]), 100 * p, atol=0.6)


def test_draw_page_shows_the_cells_of_the_nearest_symbol(page):
    with_two_symbols(page)
    page.answer([RING])
    assert page.part("match").is_displayed()
    for name in ("match-query", "match-exemplar"):
        url = page.run("return arguments[0].toDataURL()", page.part(name))
        with Image.open(io.BytesIO(b64decode(url.partition(",")[2]))) as image:
            red, _, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(int), 2, 0)
        assert (blue > red + 20).mean() > 0.05  # cells of two rings speak for one symbol


def test_build_draw_without_npm_says_so(tmp_path, monkeypatch):
    build = load_build()
    monkeypatch.setattr(build, "CACHE", tmp_path / "npm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="needs npm, which is not installed"):
        build.build_draw(tmp_path / "draw")
    assert not (tmp_path / "draw").exists()
