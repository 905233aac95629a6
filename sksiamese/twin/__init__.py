"""The twin network, in torch alone; read it top to bottom as one reads the paper.

scaling -> encoders -> heads -> network -> losses -> batches -> augmentation -> degradation ->
series -> optimizers -> callbacks -> training -> inference. Beside them, for features that are not
trained: statistics -> levels -> encoding -> whitening.

Nothing here knows scikit-learn's estimators: images arrive as tensors or as a `scaling.Store`,
labels as integers, randomness as seeds and explicit generators.
"""
