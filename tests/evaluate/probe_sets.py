"""Probe sets of which everything is known."""

import numpy as np

from winnow.evaluate.concept_probes import Probe


def probe_set(sizes=(400, 150, 300), features=12, concepts=8, seed=0, offset=0.0):
    """Concepts are directions in the features; the model predicts a class from the first three of them."""
    generator = np.random.default_rng(seed)
    truth = np.random.default_rng(99).normal(size=(concepts, features))
    found = {}
    for split, n in zip(("train", "valid", "test"), sizes, strict=True):
        x = generator.normal(offset, 1, (n, features))
        present = x @ truth.T + generator.normal(0, 0.5, (n, concepts)) > 0
        found[split] = Probe(x, present, np.where(present[:, 0], 0, np.where(present[:, 1], 1, 2)))
    return found, truth
