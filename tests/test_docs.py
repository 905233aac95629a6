"""The documentation is about what there is: links, names, parameters, and code that runs."""

import ast
import doctest
import importlib
import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import GridSearchCV, GroupKFold
from torch import nn

import sksiamese
from sksiamese import SiameseOneShotClassifier, load_pretrained
from sksiamese.datasets import make_glyphs
from sksiamese.twin.encoders import ENCODERS
from sksiamese.twin.heads import HEADS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
PAGES = [
    README,
    CONTRIBUTING,
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.glob("*.md")),
    *sorted((ROOT / "sksiamese" / "weights").glob("*.md")),
]
PAPER_ROWS = [
    line.strip("|").split("|")
    for line in (DOCS / "paper_to_code.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d", line)
]

# Words of earlier versions, and what to write instead.
WORDS = {
    r"\bink\b": "foreground",
    r"\bground\b": "background",
    r"\bcodes\b": "embeddings",
    r"\btwins? that ships?\b|\bshipped twin\b": "pretrained network",
    r"\bbackground classes\b": "training classes",
    r"\bno number\b": "not a number",
    r"\bof the same kind\b|\bof another kind\b": "say which property is the same",
    r"\bfalse acceptance\b": "false-acceptance rate",
    r"\bclass_transforms\b": "class_augmentation",
    r"\bdistortion=|(?-i:\bDISTORTIONS\b)": "augmentation",
    r"\bn_members\b": "n_estimators",
    r"\bfalse_acceptance\b": "false_acceptance_rate",
    r"(?<![a-z_])threshold_\b": "rejection_threshold_ or decision_threshold_",
    r"\bdraw_pairs\b": "make_pairs",
}

# Parameters of other packages that the documentation uses.
OTHERS = {
    "LRScheduler": {"gamma"},
    "MLPClassifier": {"solver"},
    "cross_val_predict": {"method"},
    "cross_val_score": {"cv", "groups", "params", "scoring"},
    "sklearn": {"enable_metadata_routing"},
    "dask.array": {"chunks", "drop_axis"},
    "numpy": {"axis", "mmap_mode"},
    "pathlib.Path.mkdir": {"exist_ok", "parents"},
    "timm.create_model": {"in_chans", "num_classes", "pretrained"},
    "torch": {"dim", "dtype"},
    "torch.export": {"dynamic_shapes"},
    "torch.onnx": {"dynamo"},
}


def read(page):
    return page.read_text(encoding="utf-8")


def python_blocks(page):
    return re.findall(r"^```python\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)


def code_spans(page):
    """Code in the text, between single backticks."""
    text = re.sub(r"^```.*?^```", "", read(page), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


def each(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.name)


def defines(file, *names):
    """Whether a file of the repository defines all names, as class, function or constant."""
    source = read(ROOT / file)
    return all(
        re.search(rf"^ *(class|def) {name}\b|^{name}\b.* = ", source, re.MULTILINE)
        for name in names
    )


def public_parameters():
    """Names of all parameters of public functions, classes and methods."""
    modules = ("augmentation", "callbacks", "datasets", "model_selection", "plotting", "recipes")
    fitted = load_pretrained("omniglot").fitted_
    objects = [*ENCODERS.values(), *HEADS.values(), type(fitted), type(fitted.comparer)]
    for module in (sksiamese, *(importlib.import_module(f"sksiamese.{name}") for name in modules)):
        objects += [getattr(module, name) for name in module.__all__]
    classes = [found for found in objects if inspect.isclass(found)]
    classes = [cls for cls in classes if not issubclass(cls, Exception)]
    functions = [*filter(inspect.isfunction, objects), *classes]
    for cls in classes:
        methods = inspect.getmembers(cls, callable)
        functions += [method for name, method in methods if not name.startswith("_")]
    return {name for function in functions for name in inspect.signature(function).parameters}


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the code in the documentation takes as given."""
    monkeypatch.chdir(tmp_path)  # where it writes files
    X, y = make_glyphs(n_classes=25, n_samples=2, random_state=0)
    new, labels = make_glyphs(n_classes=5, n_samples=2, random_state=1)
    return {
        "X": X,
        "y": y,
        "alphabet": np.array([f"alphabet {label // 5}" for label in y]),
        "X_new": new[::2],
        "y_new": labels[::2],
        "X_query": new[1::2],
    }


def run(page, names, contains="", short="max_iter=2"):
    """Run the Python code of a page that contains some text; training is made short."""
    for block in python_blocks(page):
        # An encoder of timm would be downloaded.
        if contains in block and "import timm" not in block:
            block = block.replace("(random_state=0)", f"({short}, random_state=0)")
            exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize("row", PAPER_ROWS, ids=lambda row: row[1].strip()[:40])
def test_paper_to_code_names_code_and_a_test(row):
    _, _, _, code, test = row
    for cell in (code, test):
        file, name = re.findall(r"`([^`]+)`", cell)
        assert defines(file, name), cell


def test_paper_to_code_covers_the_sections_of_the_method():
    sections = [row[0].strip() for row in PAPER_ROWS]
    assert set(sections) == {"3.1", "3.2", "3.3", "4.1", "4.3"}
    assert sections.count("3.2") > 6


@each(PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)", read(page))
    local = [link for link in links if not link.startswith("https://")]
    assert [link for link in local if not (page.parent / link).exists()] == []


@each(PAGES)
def test_files_named_in_the_text_exist(page):
    pattern = r"(?:python )?((?:sksiamese|tests|benchmarks|examples|tools|docs)/[^*\s]+)"
    named = [match[1] for match in (re.match(pattern, span) for span in code_spans(page)) if match]
    missing = []
    for name in named:
        file, _, test = name.partition("::")
        if not (ROOT / file).exists() or (test and not defines(file, test)):
            missing.append(name)
    assert missing == []


def test_contributing_names_code_where_it_is():
    text = read(CONTRIBUTING)
    named = [
        (file, names)  # `file` (`name`, `name`)
        for file, names in re.findall(r"`(sksiamese/[\w/]+\.py)` \(((?:`\w+`(?:, )?)+)\)", text)
    ]
    named += [
        (file, f"`{name}`")  # `name` (`file`), `name(arguments)` ... (`file`)
        for name, file in re.findall(
            r"`(?:\w+\.)?(\w+)(?:\([^`]*\))?`[^`.;]*\(`(sksiamese/[\w/]+\.py)`\)", text
        )
    ]
    assert len(named) > 20
    for file, names in named:
        assert defines(file, *re.findall(r"\w+", names)), (file, names)


def test_contributing_names_each_module():
    text = read(CONTRIBUTING)
    package = ROOT / "sksiamese"
    for path in [*package.glob("_*.py"), *(package / "twin").glob("*.py")]:
        if not path.name.startswith("__"):
            assert f"`{path.relative_to(ROOT).as_posix()}`" in text


@each(PAGES)
def test_pages_use_the_terms_of_the_package(page):
    for word, better in WORDS.items():
        found = re.search(rf".*(?:{word}).*", read(page), re.IGNORECASE)
        assert found is None, f"{found[0]!r}: write {better}"


@each(PAGES)
def test_pages_name_parameters_that_exist(page):
    known = public_parameters().union(*OTHERS.values())
    used = {
        name for span in code_spans(page) for name in re.findall(r"(?<![\w.-])(\w+)=(?!=)", span)
    }
    for block in python_blocks(page):
        calls = (node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call))
        used |= {keyword.arg for call in calls for keyword in call.keywords if keyword.arg}
    assert used <= known


def test_readme_is_short():
    assert len(read(README).splitlines()) <= 120


def test_readme_has_a_table_of_at_most_six_models():
    table = read(README).split("<!-- results -->")[1].split("<!-- end of results -->")[0]
    head, line, *rows = table.strip().splitlines()
    assert 1 <= len(rows) <= 6
    assert {row.count("|") for row in rows} == {head.count("|")} == {line.count("|")}


def test_readme_commands_are_those_of_ci():
    text = read(README)
    assert "python -m pip install tox && tox" in text
    command = re.search(r"^    (.* && python examples/.*)$", text, re.MULTILINE)[1]
    install, _, script = command.partition(" && ")
    assert "-c constraints.txt" in install
    assert (ROOT / script.removeprefix("python ")).is_file()


def test_readme_code_runs(names):
    run(README, names)
    assert names["labels"].tolist() == names["y_new"].tolist()
    assert names["probabilities"].shape == (5, 5)


# Groups: scikit-learn's tools pass them to the splitter, and not to fit


@pytest.fixture
def fits(monkeypatch):
    """List the numbers of classes and of groups (None: not given) of each `fit` to come."""
    fit, seen = SiameseOneShotClassifier.fit, []

    def watched(self, X, y, groups=None):
        if groups is None:
            seen.append((len(set(y)), None))
        else:
            seen.append((len(set(zip(groups, y, strict=True))), len(set(groups))))
        return fit(self, X, y, groups)

    monkeypatch.setattr(SiameseOneShotClassifier, "fit", watched)
    return seen


@pytest.fixture
def in_groups(names):
    """The same names, with labels that are unique only inside an alphabet."""
    return names | {"y": names["y"] % 5}


def test_scaling_labels_and_embeds_blocks_and_goes_on(names, monkeypatch):
    pytest.importorskip("dask.array")
    X_new, query = names["X_new"], names["X_query"]
    np.save("images.npy", np.concatenate([query] * 5))  # three blocks of ten
    clf = load_pretrained().set_support(X_new, names["y_new"])
    expected = np.tile(clf.predict(query), 5)
    by_blocks, by_dask, *_ = (
        code.replace("1000", "10") for code in python_blocks(DOCS / "scaling.md")
    )
    exec(by_blocks, names)
    np.testing.assert_array_equal(names["labels"], expected)

    np.save("labels/000001.npy", np.full(10, -1))
    Path("labels/000002.npy").unlink()
    blocks = []
    predict = SiameseOneShotClassifier.predict
    monkeypatch.setattr(
        SiameseOneShotClassifier, "predict", lambda *args: blocks.append(1) or predict(*args)
    )
    exec(by_blocks, names)
    assert len(blocks) == 1
    np.testing.assert_array_equal(names["labels"][10:20], -1)
    np.testing.assert_array_equal(names["labels"][20:], expected[20:])

    exec(by_dask, names)
    np.testing.assert_array_equal(names["labels"].compute(scheduler="sync"), expected)
    embeddings = names["embeddings"].compute(scheduler="sync")
    np.testing.assert_allclose(embeddings[-5:], clf.transform(query), rtol=1e-5, atol=1e-6)


def test_scaling_trains_on_a_memory_map(names):
    np.save("images.npy", names["X"])
    run(
        DOCS / "scaling.md",
        names,
        "\n\nimages = np.load(",
        "max_iter=1, encoder_params={'width': 8}",
    )
    assert len(names["clf"].classes_) == 25


GUIDE = ("judging", "open_world", "serving", "tuning", "verification")


@each([DOCS / f"{name}.md" for name in GUIDE])
def test_pages_of_the_guide_run(page, names, capsys):
    run(page, names, short="max_iter=1, encoder_params={'width': 8}")
    found = {
        "judging": lambda: capsys.readouterr().out.count("5-way 1-shot") == 2,
        "open_world": lambda: names["sets"].shape == (5, 5),
        "serving": lambda: (names["probabilities"].argmax(1) == names["rows"][:, 0]).all(),
        "tuning": lambda: names["search"].best_params_["head"] in ("whitened", "aligned"),
        "verification": lambda: len(names["same"]) == len(names["pairs"]),
    }
    assert found[page.stem]()


def test_start_labels_images_of_folders_in_ten_lines(names, capsys):
    for images, folder in ((names["X_new"], "known"), (names["X_query"], "unknown")):
        for label, image in zip(names["y_new"], images, strict=True):
            path = Path(folder, f"class {label}", "1.png")
            path = path if folder == "known" else Path(folder, f"{label}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    (code,) = python_blocks(DOCS / "start.md")
    assert len(code.split("\n\n")[1].splitlines()) <= 10
    exec(compile(code, "start.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(f"{line.split('.png')[0][-1]} " in line.split("class")[1] for line in lines)


# Of the code in each page: classes and groups of what fit is given, in its order.
FIFTHS, HALVES, WHOLE = [(20, 4)] * 5, [(10, 2), (15, 3)], [(25, 5)]
GROUPED = {
    README: FIFTHS,
    DOCS / "cross_validation.md": [
        *FIFTHS,
        *[*HALVES, *HALVES, *WHOLE],
        *[(n_classes, None) for n_classes, _ in [*HALVES, *HALVES, *WHOLE]],
    ],
}


def uses_groups(code):
    return re.search(r"groups=(?!y\b)|\bgroups\b(?!=)", code) and re.search(
        r"cross_val|GridSearch|RandomizedSearch|learning_curve", code
    )


def test_pages_with_groups_are_all_tried():
    found = {page for page in PAGES if any(map(uses_groups, python_blocks(page)))}
    assert found == set(GROUPED)


@each(list(GROUPED))
def test_pages_merge_no_labels_of_two_groups(page, in_groups, fits):
    in_groups["SiameseOneShotClassifier"] = SiameseOneShotClassifier
    run(page, in_groups, "alphabet", "max_iter=1, encoder_params={'width': 8}")
    if page != README:
        assert in_groups["scores"].shape == (5,)
        assert in_groups["search"].best_params_["learning_rate"] in (1e-3, 5e-3)
    assert fits == GROUPED[page]


def test_labels_of_two_groups_are_merged_where_fit_gets_no_groups(in_groups, fits):
    """What the pages warn of."""
    search = GridSearchCV(SiameseOneShotClassifier(), {"max_iter": [1]}, cv=GroupKFold(2))
    search.fit(in_groups["X"], in_groups["y"], groups=in_groups["alphabet"])
    assert fits == [(5, None)] * 3


def docstrings():
    """Return the examples in public docstrings that cross-validate, by name."""
    found = {}
    for module in ("", ".datasets", ".model_selection", ".plotting", ".recipes"):
        module = importlib.import_module(f"sksiamese{module}")
        objects = {name: getattr(module, name) for name in getattr(module, "__all__", ())}
        for name, thing in list(objects.items()):
            if inspect.isclass(thing):
                objects |= {f"{name}.{key}": value for key, value in vars(thing).items()}
        for name, thing in objects.items():
            text = getattr(thing, "__doc__", None) or ""
            if callable(thing) and re.search(r">>> .*(cross_val|GridSearch)", text):
                examples = doctest.DocTestParser().get_examples(text)
                found[name] = "".join(example.source for example in examples)
    return found


@pytest.mark.parametrize("name", docstrings())
def test_docstrings_merge_no_labels_of_two_groups(name, monkeypatch):
    """Where groups are given, a label occurs in one of them only, or fit is given them too."""
    import sklearn.model_selection

    called = []
    original = sklearn.model_selection.cross_val_score

    def watched(estimator, X, y, **params):
        called.append(name)
        if params.get("groups") is not None and "groups" not in params.get("params", ()):
            pairs = np.stack([np.asarray(y, str), np.asarray(params["groups"], str)])
            assert np.unique(pairs, axis=1).shape[1] == len(set(pairs[0]))
        return original(estimator, X, y, **params)

    monkeypatch.setattr(sklearn.model_selection, "cross_val_score", watched)
    exec(docstrings()[name], {})
    assert called


def test_docstrings_that_cross_validate_are_found():
    assert {"FrozenTwinClassifier", "EpisodeSplit", "make_one_shot_scorer"} <= set(docstrings())


def test_pretrained_code_runs(names):
    run(DOCS / "pretrained.md", names)
    assert names["labels"].tolist() == names["y_new"].tolist()


def test_fine_tuning_code_runs(names, fits, monkeypatch):
    monkeypatch.setitem(sksiamese.weights.FINE_TUNING, "max_iter", 1)
    names["X"], names["y"] = names["X"][:12], names["y"][:12]
    run(DOCS / "fine_tuning.md", names)
    assert fits == [(6, None)] * 2
    assert names["labels"].tolist() == names["y_new"].tolist()
    assert names["again"].n_iter_ == 1


def test_five_ways_code_scores_each_way(names, capsys):
    blocks = "\n".join(python_blocks(DOCS / "five_ways.md"))
    assert blocks.count("load_omniglot_minimal().runs") == 1
    exec(blocks.replace("load_omniglot_minimal().runs", "load_omniglot_minimal().runs[:3]"), names)
    lines = capsys.readouterr().out.splitlines()
    pixels, softmax, programs, network = (float(line.split(" %")[0]) for line in lines)
    assert max(pixels, softmax) < 50 < 85 < min(programs, network)
    assert all("60 trials" in line for line in lines)


def test_extending_code_runs(names):
    names["SiameseOneShotClassifier"] = SiameseOneShotClassifier
    names["backbone"] = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2))
    run(DOCS / "extending.md", names)
    clf = names["clf"]
    flat = names["X_query"].reshape(5, -1).astype(float)
    nearest = np.abs(flat[:, None] - names["X_new"].reshape(5, -1)).sum(2).argmin(1)
    assert clf.predict(names["X_query"]).tolist() == names["y_new"][nearest].tolist()


@pytest.fixture
def pretrained(names):
    clf = load_pretrained("omniglot").set_params(precision="float32")
    names["clf"] = clf.set_support(names["X_new"], names["y_new"])
    return clf.transform(names["X_query"])


def test_export_code_runs_with_torch(names, pretrained):
    run(DOCS / "export.md", names, contains="torch.export.export")
    exported = names["embeddings"].detach().flatten(1).numpy()
    np.testing.assert_allclose(exported, pretrained, atol=1e-5)
    assert names["boxes"].shape == (len(exported), 4)
    slope, intercept = names["clf"].fitted_.calibration
    logits = slope * names["logits"].detach().numpy() + intercept
    np.testing.assert_allclose(
        logits, names["clf"].decision_function(names["X_query"]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra onnx",
)
def test_export_code_runs_with_onnx(names, pretrained):
    run(DOCS / "export.md", names, contains="onnx")
    clf, X_query = names["clf"], names["X_query"]
    np.testing.assert_allclose(names["queries"], pretrained, atol=1e-5)
    assert names["answers"] == clf.predict(X_query).tolist()
    np.testing.assert_allclose(names["scores"], clf.score_samples(X_query), atol=1e-4)
    assert len(names["is_unknown"]) == len(X_query)
