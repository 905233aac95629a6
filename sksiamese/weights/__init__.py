"""Pretrained networks; each has its model card beside it."""

from .._classifier import SiameseOneShotClassifier
from .._params import path_of_weights, pretrained_names

# Chosen on drawings of another kind than those of its training: docs/fine_tuning.md.
FINE_TUNING = {"max_iter": 20}


def load_pretrained(name: str = "symbols") -> SiameseOneShotClassifier:
    """Load a pretrained network as a classifier with an empty support.

    Call `set_support` first. It also infers image size, background level and polarity from the
    support images; later images must match them. Or call `fit`, which fine-tunes the network: it
    starts from the pretrained weights, in clones too.

    Parameters
    ----------
    name : {"symbols", "omniglot"}, default="symbols"
        "symbols": handwriting, icons, typefaces and other drawings, also scanned
        (``sksiamese/weights/symbols.md``). "omniglot": handwritten characters alone, as in the
        comparison with the literature (``sksiamese/weights/omniglot.md``).

    Returns
    -------
    clf : SiameseOneShotClassifier
        Fitted and calibrated. Its parameters are those of its training, except for
        ``weights=name`` and `max_iter`, which suits fine-tuning.

    Raises
    ------
    ValueError
        If there is no network of that name.

    See Also
    --------
    sksiamese.recipes.omniglot : The parameters with which it was trained.

    Examples
    --------
    >>> from sksiamese import load_pretrained
    >>> from sksiamese.datasets import make_glyphs
    >>> X, y = make_glyphs(n_classes=5, n_samples=2, random_state=0)
    >>> clf = load_pretrained().set_support(X[::2], y[::2])
    >>> clf.score(X[1::2], y[1::2])
    1.0
    """
    names = pretrained_names()
    if name not in names:
        raise ValueError(
            f"name={name!r} is not known; expected one of {', '.join(map(repr, names))}."
        )
    clf = SiameseOneShotClassifier.load(path_of_weights(name))
    return clf.set_params(weights=name, **FINE_TUNING)
