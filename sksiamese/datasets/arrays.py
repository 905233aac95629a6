"""ImageArray: images that estimators hold as a parameter without owning a copy."""

import numpy as np


class ImageArray:
    """Images by row number, for ``SiameseVerifier(preprocessor=...)``.

    scikit-learn clones an estimator by copying its parameters, for each fold of a cross-validation
    anew. This one stays what it is: clones share it, and of a memory-mapped file a pickle has the
    path alone.

    Parameters
    ----------
    images : ndarray of shape (n, ...), or path of an .npy file
        A file is memory-mapped; only the images that are asked for are read.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import clone
    >>> from sksiamese import SiameseVerifier
    >>> from sksiamese.datasets import ImageArray
    >>> images = ImageArray(np.zeros((10, 16, 16), dtype=np.uint8))
    >>> verifier = SiameseVerifier(preprocessor=images)
    >>> clone(verifier).preprocessor is images
    True
    """

    def __init__(self, images):
        self.path = None if hasattr(images, "shape") else str(images)
        self.images = images if self.path is None else np.load(self.path, mmap_mode="r")

    @property
    def shape(self):
        return self.images.shape

    @property
    def dtype(self):
        return self.images.dtype

    def __len__(self):
        return len(self.images)

    def __getitem__(self, rows):
        return self.images[rows]

    def __repr__(self):
        return f"ImageArray({len(self)} of shape {self.shape[1:]})"

    def __deepcopy__(self, memo):
        return self

    def __sklearn_clone__(self):
        return self

    def __reduce__(self):
        return type(self), (self.images if self.path is None else self.path,)
