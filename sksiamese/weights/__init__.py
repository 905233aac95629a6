"""Trained twins that ship; each has its model card beside it."""

from pathlib import Path

from .._classifier import SiameseOneShotClassifier

_FOLDER = Path(__file__).parent


def load_pretrained(name="omniglot"):
    """Load a trained twin that ships with sksiamese, its support still empty.

    Its first step is `set_support`, which also takes over the size of your images, their ground
    and their ink, light or dark: later images must be of the same kind.

    Parameters
    ----------
    name : {"omniglot"}, default="omniglot"
        "omniglot": handwritten characters (``sksiamese/weights/omniglot.md``).

    Returns
    -------
    clf : SiameseOneShotClassifier
        Fitted. `fit` would train it anew, with the parameters it was trained with.

    Raises
    ------
    ValueError
        If there is no twin of that name.

    Examples
    --------
    >>> from sksiamese import load_pretrained
    >>> from sksiamese.datasets import make_glyphs
    >>> X, y = make_glyphs(n_classes=5, n_samples=2, random_state=0)
    >>> clf = load_pretrained("omniglot").set_support(X[::2], y[::2])
    >>> clf.score(X[1::2], y[1::2])
    1.0
    """
    names = sorted(path.stem for path in _FOLDER.glob("*.safetensors"))
    if name not in names:
        raise ValueError(
            f"name={name!r} is not known; expected one of {', '.join(map(repr, names))}."
        )
    clf = SiameseOneShotClassifier.load(_FOLDER / f"{name}.safetensors")
    clf.support_ = None
    clf._adapts = True
    return clf
