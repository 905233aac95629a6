"""TwinMetricMixin: what a fitted twin says of two images, whatever the support."""

import copy

import numpy as np
from scipy.special import expit
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._support import SupportSet
from .twin import inference


class TwinMetricMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Codes, and comparisons of them, of an estimator with ``network_``."""

    def _encode(self, X):
        check_is_fitted(self, "network_")
        self._check_adapted()
        return self._encode_store(self._store(X))

    def transform(self, X):
        """Codes in which, for the "weighted_l1" head, L1 distance is the twin's own metric.

        Parameters
        ----------
        X : array-like of shape (n, ...)

        Returns
        -------
        codes : ndarray of shape (n, n_codes), float32
        """
        self = copy.copy(self)  # see pair_proba
        return self._encode(X).flatten(1).numpy() / np.float32(self.network_.n_members)

    def pair_proba(self, XA, XB):
        """The twin's p(same class) of each row of XA with the same row of XB.

        Parameters
        ----------
        XA, XB : array-like of shape (n, ...)

        Returns
        -------
        probabilities : ndarray of shape (n,), float32
        """
        self = copy.copy(self)  # one twin, though another thread may fit anew
        codes_a, codes_b = self._encode(XA), self._encode(XB)
        if len(codes_a) != len(codes_b):
            raise ValueError(
                f"XA has {len(codes_a)} samples and XB {len(codes_b)}; pair_proba compares row by "
                "row: pass as many of each, or use similarity for all pairs."
            )
        return expit(inference.pair_logits(self.network_, codes_a, codes_b).numpy())

    def similarity(self, XA, XB):
        """Twin logit of every row of XA with every row of XB.

        Parameters
        ----------
        XA : array-like of shape (n_a, ...)
        XB : array-like of shape (n_b, ...)

        Returns
        -------
        logits : ndarray of shape (n_a, n_b), float32
            ``scipy.special.expit`` of them is p(same class).
        """
        self = copy.copy(self)  # see pair_proba
        codes_a = self._encode(XA)
        codes_b = codes_a if XB is XA else self._encode(XB)
        return inference.logits(self.network_, codes_a, codes_b).numpy()

    def _episode_decision(self, X):
        """Encode X once; a function that scores trials made of its rows (`model_selection`)."""
        self, store = self._adapted(X)
        codes = self._encode_store(store)

        def decision(query, support, y_support):
            trial = SupportSet(codes[support], np.asarray(y_support))
            return trial.class_logits(self.network_, codes[query], self.aggregation), trial.classes

        return decision

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.one_d_labels = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
