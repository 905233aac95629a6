"""What a fitted twin says of two images, whatever its support."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn.exceptions import NotFittedError

from sksiamese import SiameseOneShotClassifier
from sksiamese.twin import inference


def test_codes_carry_the_metric_and_its_order(fitted, glyphs):
    X = glyphs[0][::7]
    codes = fitted.transform(X)
    distances = np.abs(codes[:, None] - codes).sum(axis=2)
    bias = float(fitted.network_.head.bias)
    assert_allclose(bias - fitted.similarity(X, X), distances, rtol=1e-3, atol=1e-3)
    assert codes.dtype == np.float32
    assert len(fitted.get_feature_names_out()) == codes.shape[1]


def test_pairs_are_the_diagonal_of_the_similarity_as_probabilities(fitted, glyphs):
    XA, XB = glyphs[0][:12], glyphs[0][5:17]
    expected = expit(np.diag(fitted.similarity(XA, XB)))
    assert_allclose(fitted.pair_proba(XA, XB), expected, rtol=1e-4, atol=1e-6)
    assert_allclose(fitted.pair_proba(XA, XB), fitted.pair_proba(XB, XA), rtol=1e-5)


def test_images_compared_with_themselves_are_encoded_once(fitted, glyphs, monkeypatch):
    encoded = []
    encode = inference.encode

    def counting(network, store, *args, **kwargs):
        encoded.append(len(store))
        return encode(network, store, *args, **kwargs)

    monkeypatch.setattr(inference, "encode", counting)
    X = glyphs[0][:9]
    fitted.similarity(X, X)
    fitted.similarity(X, X[:4])
    assert encoded == [9, 9, 4]


def test_comparisons_need_no_support_but_a_fit(fitted, glyphs):
    X = glyphs[0][:4]
    bare = copy.copy(fitted)
    bare.support_ = None
    assert_allclose(bare.similarity(X, X), fitted.similarity(X, X))
    with pytest.raises(NotFittedError):
        SiameseOneShotClassifier().transform(X)
