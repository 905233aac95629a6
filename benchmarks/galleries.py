"""Large supports: time of a query, agreement with the exact answer, memory; beside peers.

    python benchmarks/galleries.py             # writes results/galleries.json
    python benchmarks/galleries.py --page      # writes the results into docs/galleries.md

Both sides of a ratio alternate in one process, with the same threads. Exemplars beyond the
drawings of Omniglot's background are drawings of theirs with noise added to the embedding, for
the time alone.

- one query: `predict` of one image, from pixels to label, relative to a call of the plain encoder
  on one image that is scaled already.
- agreement: queries with the same label, and exemplars among the nearest five that are the same,
  as with ``exact=True``. Exemplars and queries are different drawings of the background alphabets.
- search: 100 queries among embeddings of 128 numbers, from embeddings to labels, relative to
  scikit-learn's `NearestNeighbors`, to faiss' exact index (both give the nearest exemplar), and
  to a scan by NumPy: a product of matrices, a thousand exemplars at a time, and its maximum.
- index: ``search="faiss"`` relative to ``search="auto"``, from embeddings to labels; agreement
  with ``exact=True`` as above; seconds of the first query, which makes the index; and its memory,
  relative to that of the embeddings. Clustered are unit vectors of 128 numbers around a centre for
  each 20, the cosine with which is about 0.86; queries are others of the same classes. Of a
  network, exemplars are distorted copies of drawings, and queries are other drawings.
"""

import argparse
import copy
import json
import resource
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from machine import RESULTS, fill_page, report
from sklearn.neighbors import NearestNeighbors
from speed import alternate

from sksiamese import SiameseOneShotClassifier, load_pretrained
from sksiamese.augmentation import AUGMENTATIONS
from sksiamese.datasets import fetch_omniglot
from sksiamese.twin.search import import_faiss

PAGE = Path(__file__).parents[1] / "docs" / "galleries.md"
SIZES = (20, 1_000, 10_000, 100_000)
N_AGREEMENT = (10_000, 1_000)  # exemplars and queries
WIDTH = 128
INDEXED = {"clustered": (100_000, 1_000_000), "network": (10_000, 100_000)}


def with_support(clf, embeddings):
    """Return a copy with a support of these embeddings, a class each."""
    clf = copy.copy(clf)
    support = type(clf.support_).of(embeddings, np.arange(len(embeddings)))
    clf.fitted_ = replace(clf.fitted_, support=support)
    return clf


def bare_encoder(clf, image):
    """Return a function that calls the plain encoders on one scaled image."""
    network = clf.network_
    scaled = clf.fitted_.comparer.scaling(torch.from_numpy(image[None, None].astype(np.float32)))
    members = getattr(network, "members", [network])

    def call():
        with torch.no_grad():
            for member in members:
                member.encoder(scaled)

    return call


def one_query(clf, embeddings, image, n_rounds):
    """Return ratios of one query to the plain encoder, for each size of the support."""
    rng = np.random.default_rng(0)
    bare = bare_encoder(clf, image)
    ratios = {}
    for size in SIZES:
        rows = rng.integers(len(embeddings), size=size)
        noisy = embeddings[rows]
        noisy += rng.normal(0, 1e-3, noisy.shape).astype(np.float32)
        own = with_support(clf, noisy)
        ratios[str(size)] = alternate(lambda c=own: c.predict(image[None]), bare, n_rounds)
    return ratios


def agreement(clf, embeddings, images):
    """Return how often the answers are the exact ones."""
    rng = np.random.default_rng(0)
    n_exemplars, n_queries = N_AGREEMENT
    rows = rng.permutation(len(images))
    own = with_support(clf, embeddings[rows[:n_exemplars]])
    queries = images[rows[n_exemplars:][:n_queries]]
    labels, exact = own.predict(queries), own.predict(queries, exact=True)
    nearest = (own.kneighbors(queries, 5, False), own.kneighbors(queries, 5, False, exact=True))
    common = [len(set(one) & set(other)) for one, other in zip(*nearest, strict=True)]
    return {
        "exemplars": n_exemplars,
        "queries": n_queries,
        "same_label": float(np.mean(labels == exact)),
        "same_neighbours": float(np.sum(common) / (5 * n_queries)),
    }


def scan(queries, exemplars, labels):
    """Return the label of the greatest product, a thousand exemplars at a time."""
    best = np.full(len(queries), -np.inf, np.float32)
    found = np.zeros(len(queries), np.int64)
    for start in range(0, len(exemplars), 1000):
        products = queries @ exemplars[start : start + 1000].T
        column = products.argmax(axis=1)
        greatest = products[np.arange(len(queries)), column]
        better = greatest > best
        best[better], found[better] = greatest[better], start + column[better]
    return labels[found]


def unit_vectors(n, rng):
    """Return a classifier of rows, the rows it was fitted on, and n vectors like embeddings."""
    X = rng.normal(size=(200, WIDTH)).astype(np.float32)
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0, head_params={"n_components": WIDTH})
    clf.fit(X, np.arange(200) // 4)
    exemplars = rng.normal(size=(n, WIDTH)).astype(np.float32)
    exemplars /= np.linalg.norm(exemplars, axis=1, keepdims=True)
    return clf, X, exemplars


def search(n_exemplars, n_queries, n_rounds):
    """Return ratios of a search among unit vectors to the peers, and the memory it takes."""
    rng = np.random.default_rng(0)
    clf, _, exemplars = unit_vectors(n_exemplars, rng)
    labels = np.arange(n_exemplars)
    queries = exemplars[rng.integers(n_exemplars, size=n_queries)]
    queries = queries + rng.normal(0, 0.05, queries.shape).astype(np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clf.set_support(exemplars, labels, embedded=True)
    fitted = clf.fitted_

    def ours():
        return fitted.labels(queries, "prototype")

    answers = ours()
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert (answers == scan(queries, exemplars, labels)).all()
    result = {
        "exemplars": n_exemplars,
        "queries": n_queries,
        "memory": 1 + grown / exemplars.nbytes,
        "numpy": alternate(ours, lambda: scan(queries, exemplars, labels), n_rounds),
    }
    neighbours = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(exemplars)
    result["scikit-learn"] = alternate(ours, lambda: neighbours.kneighbors(queries), n_rounds)
    try:
        import faiss
    except ImportError:
        return result
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(WIDTH)
    index.add(exemplars)
    result["faiss"] = alternate(ours, lambda: index.search(queries, 1), n_rounds)
    return result


def clustered(n_exemplars, n_queries):
    """Return unit vectors around centres, their classes, and queries of the same classes."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(2, n_exemplars // 20), WIDTH)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    classes = rng.integers(len(centres), size=n_exemplars + n_queries)
    vectors = 0.6 / WIDTH**0.5 * rng.standard_normal((len(classes), WIDTH), np.float32)
    vectors += centres[classes]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[:n_exemplars], classes[:n_exemplars], vectors[n_exemplars:]


def distorted(clf, images, classes, n_exemplars, n_queries):
    """Return embeddings of distorted drawings, their classes, and those of other drawings."""
    rows = np.random.default_rng(0).permutation(len(images))
    queries, others = clf.transform(images[rows[:n_queries]]), rows[n_queries:]
    chosen = np.resize(others, n_exemplars)
    distort, generator = AUGMENTATIONS["affine"], torch.Generator().manual_seed(0)
    parts = []
    for own in np.array_split(chosen, max(1, n_exemplars // 1000)):
        drawings = torch.from_numpy(1 - images[own, None] / np.float32(255))
        parts.append(clf.transform(255 * (1 - distort(drawings, generator)[:, 0].numpy())))
    return np.concatenate(parts), classes[chosen], queries


def index(name, clf, exemplars, classes, queries, n_rounds):
    """Return ratios of a search by faiss to one by products, its agreement and its cost."""
    products, ours = (
        copy.copy(clf).set_params(search=way).set_support(exemplars, classes, embedded=True)
        for way in ("auto", "faiss")
    )

    def comparer(clf):
        return clf.fitted_.comparer.to("cpu", None, clf.search)

    def labels(clf, n, exact=False):
        fitted = replace(clf.fitted_, comparer=comparer(clf))
        return fitted.labels(queries[:n], "max", exact=exact)

    start = time.perf_counter()
    labels(ours, 1)
    build = time.perf_counter() - start
    support, n = ours.support_, len(queries)
    nearest = [support.kneighbors(comparer(ours), queries, 5, exact)[1] for exact in (False, True)]
    found = (nearest[0][:, :, None] == nearest[1][:, None]).any(axis=1)
    kept = import_faiss().serialize_index(support.blocks[0].keys(comparer(ours)).index)
    return {
        "vectors": name,
        "exemplars": len(exemplars),
        "width": exemplars.shape[1],
        "one": alternate(lambda: labels(ours, 1), lambda: labels(products, 1), n_rounds),
        "hundred": alternate(lambda: labels(ours, 100), lambda: labels(products, 100), n_rounds),
        "queries": n,
        "same_label": float(np.mean(labels(ours, n) == labels(ours, n, exact=True))),
        "same_neighbours": float(found.mean()),
        "build_s": build,
        "memory": kept.nbytes / exemplars.nbytes,
    }


def indices(networks, images, classes, n_rounds):
    """Yield results of `index`."""
    X = np.random.default_rng(0).normal(size=(200, WIDTH)).astype(np.float32)
    clf = SiameseOneShotClassifier(max_iter=1, random_state=0, head_params={"n_components": WIDTH})
    clf.fit(X, np.arange(200) // 4)
    for size in INDEXED["clustered"]:
        yield index("clustered", clf, *clustered(size, N_AGREEMENT[1]), n_rounds)
    for name, clf in networks.items():
        for size in INDEXED["network"]:
            own = distorted(clf, images, classes, size, N_AGREEMENT[1])
            yield index(name, clf, *own, n_rounds)


def page(result):
    """Yield the lines of the page."""
    yield "| network | " + " | ".join(f"{size:,} exemplars" for size in SIZES) + " |"
    yield "| --- " * (len(SIZES) + 1) + "|"
    for name, ratios in result["one_query"].items():
        cells = [f"{ratios[str(size)]['ratio']:.1f}" for size in SIZES]
        yield "| " + " | ".join([name, *cells]) + " |"
    yield ""
    for name, found in result["agreement"].items():
        yield (
            f"- {name}: {found['queries']:,} queries among {found['exemplars']:,} exemplars; "
            f"{100 * found['same_label']:.1f} % have the"
        )
        yield (
            f"  label, and {100 * found['same_neighbours']:.2f} % of the five nearest are those, "
            "of `exact=True`."
        )
    yield ""
    yield "| exemplars | queries | NumPy | scikit-learn | faiss, exact | memory |"
    yield "| --- " * 6 + "|"
    for found in result["search"]:
        peers = [
            f"{found[peer]['ratio']:.2f}" if peer in found else ""
            for peer in ("numpy", "scikit-learn", "faiss")
        ]
        cells = [f"{found['exemplars']:,}", f"{found['queries']:,}", *peers]
        yield "| " + " | ".join([*cells, f"{found['memory']:.2f}"]) + " |"
    if "index" not in result:
        return
    yield ""
    yield '`search="faiss"` beside `search="auto"`:'
    yield ""
    yield (
        "| exemplars | vectors | one query | 100 queries | same label, % | same five nearest, % | "
        "first query, s | memory |"
    )
    yield "| --- " * 8 + "|"
    for found in result["index"]:
        shares = [f"{100 * found[name]:.2f}" for name in ("same_label", "same_neighbours")]
        cells = [
            f"{found['exemplars']:,}",
            f"{found['vectors']}, {found['width']:,} numbers",
            f"{found['one']['ratio']:.2f}",
            f"{found['hundred']['ratio']:.2f}",
            *shares,
            f"{found['build_s']:.1f}",
            f"{found['memory']:.2f}",
        ]
        yield "| " + " | ".join(cells) + " |"


def described(machine):
    """Yield what the results were measured on."""
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['torch_threads']} threads, "
        f"torch {machine['torch']}, {machine['date']},"
    )
    yield f"commit {machine['commit']}."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    shared = Path("../shared/omniglot")
    parser.add_argument("--data-home", default=shared if shared.exists() else None)
    args = parser.parse_args()
    if args.page:
        result = json.loads((RESULTS / "galleries.json").read_text())
        fill_page(PAGE, {"galleries": page(result), "machine": described(result["machine"])})
        return
    result = {"one_query": {}, "agreement": {}, "search": [], "index": []}
    for size, n_queries in ((100_000, 1), (100_000, 100), (1_000_000, 1), (1_000_000, 100)):
        result["search"].append(search(size, n_queries, args.rounds))
        print(result["search"][-1])
    omniglot = fetch_omniglot("background", data_home=args.data_home)
    images = omniglot.images
    trained = {
        name: SiameseOneShotClassifier(head=head, max_iter=1, random_state=0)
        for name, head in (("default", "whitened"), ("weighted L1", "weighted_l1"))
    }
    for clf in trained.values():
        clf.fit(images[:2000], np.arange(2000) // 20)
    named = {f"{name}, trained for one epoch": clf for name, clf in trained.items()}
    networks = {name: load_pretrained(name) for name in ("symbols", "omniglot")}
    for name, clf in {**networks, **named}.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of equal drawings with several labels
            clf.set_support(images[:100], np.arange(100))
        shape = clf.support_.embeddings.shape[1:]
        embeddings = clf.transform(images).reshape(-1, *shape)
        result["agreement"][name] = agreement(clf, embeddings, images)
        result["one_query"][name] = one_query(clf, embeddings, images[0], 2 * args.rounds)
        print(name, result["agreement"][name])
    classes = np.unique(omniglot.target, return_inverse=True)[1]
    for found in indices(trained, images, classes, args.rounds):
        result["index"].append(found)
        print(found)
    report("galleries", result)


if __name__ == "__main__":
    main()
