"""Pretrained networks; each has its model card beside it."""

from pathlib import Path

from .._classifier import SiameseOneShotClassifier

_FOLDER = Path(__file__).parent


def load_pretrained(name: str = "omniglot") -> SiameseOneShotClassifier:
    """Load a pretrained network as a classifier with an empty support.

    Call `set_support` first. It also infers image size, background level and polarity from the
    support images; later images must match them.

    Parameters
    ----------
    name : {"omniglot"}, default="omniglot"
        "omniglot": handwritten characters (``sksiamese/weights/omniglot.md``).

    Returns
    -------
    clf : SiameseOneShotClassifier
        Fitted and calibrated. With ``set_params(warm_start=True)``, `fit` continues training.

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
    >>> clf = load_pretrained("omniglot").set_support(X[::2], y[::2])
    >>> clf.score(X[1::2], y[1::2])
    1.0
    """
    names = sorted(path.stem for path in _FOLDER.glob("*.safetensors"))
    if name not in names:
        raise ValueError(
            f"name={name!r} is not known; expected one of {', '.join(map(repr, names))}."
        )
    return SiameseOneShotClassifier.load(_FOLDER / f"{name}.safetensors")
