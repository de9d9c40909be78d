"""Strips of made-up prototypes on made-up images, for the tests of their scores and of their pictures."""

import numpy as np

from winnow.evaluate.prototype_strips import strips
from winnow.workloads.annotations import PartPoints

N, SIDE = 22, 20


def strip_rows():
    """Rows of strips, where prototypes are most alike, and the pixels."""
    random = np.random.default_rng(0)
    labels, of = np.arange(N) % 2, np.array([0, 1, 1])
    at = random.integers(0, SIDE, (N, 3, 2))
    at[3, 2] = -1
    xy = np.full((N, 2, 2), np.nan, np.float32)
    xy[:, 0] = at[:, 2, ::-1] + [3, -3]  # in the region's corner
    xy[:, 1] = at[:, 2, ::-1] + [4, 0]
    visible = np.ones((N, 2), bool)
    visible[1, 0] = False
    points = PartPoints(("head", "tail"), xy, visible)
    pixels = random.integers(0, 256, (N, SIDE, SIDE, 3)).astype(np.uint8)
    return strips(np.array([np.nan, 0.25, 0.5]), at, of, labels, points, pixels, 3), at, pixels
