"""Data sets and loaders: Omniglot, generated characters, and folders of image files.

All loaders return images as uint8 values from 0 to 255. Drawings are dark on light: the strokes
(the foreground) are 0 and the background is 255.
"""

from .arrays import ImageArray
from .folder import image_files, load_image_folder, load_images
from .glyphs import make_glyphs
from .omniglot import fetch_omniglot, fetch_omniglot_runs, load_omniglot_minimal

__all__ = [
    "ImageArray",
    "fetch_omniglot",
    "fetch_omniglot_runs",
    "image_files",
    "load_image_folder",
    "load_images",
    "load_omniglot_minimal",
    "make_glyphs",
]
