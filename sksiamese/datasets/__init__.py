"""Data to learn from and to be judged on: Omniglot, and drawn glyphs for fast tests."""

from .arrays import ImageArray
from .folder import load_image_folder
from .glyphs import make_glyphs
from .omniglot import fetch_omniglot, fetch_omniglot_runs, load_omniglot_minimal

__all__ = [
    "ImageArray",
    "fetch_omniglot",
    "fetch_omniglot_runs",
    "load_image_folder",
    "load_omniglot_minimal",
    "make_glyphs",
]
