"""Strips of images with a prototype's region and the points of parts: whether a score agrees with what one sees."""

from __future__ import annotations

from typing import Any

import numpy as np

from winnow.workloads.annotations import PartPoints
from winnow.workloads.image_tables import encode_png

SHOWN = 8


def strips(
    frequency: np.ndarray,
    at: np.ndarray,
    prototype_class: np.ndarray,
    labels: np.ndarray,
    points: PartPoints,
    pixels: np.ndarray,
    half: int,
) -> list[dict[str, Any]]:
    """The first 8 images of its class for the most and the least consistent prototype, a row each.

    frequency: float[J], NaN for a class without images. at: int[n, J, 2] of `peaks`. pixels: uint8[n, h, w, c].
    Keys: which (best or worst), prototype, frequency, place (0 to 7), png, region (left, top, right, bottom, clipped to
    the image, the last two outside; null without a peak), points (part, x, y, hit) of visible parts.
    """
    judged = np.flatnonzero(np.isfinite(frequency))
    chosen = {"best": judged[frequency[judged].argmax()], "worst": judged[frequency[judged].argmin()]}
    height, width = pixels.shape[1:3]
    rows = []
    for which, j in chosen.items():
        for place, i in enumerate(np.flatnonzero(labels == prototype_class[j])[:SHOWN]):
            row, column = (int(value) for value in at[i, j])
            box = [
                max(0, column - half),
                max(0, row - half),
                min(width, column + half + 1),
                min(height, row + half + 1),
            ]
            seen = [
                {"part": points.names[k], "x": float(x), "y": float(y)}
                | {"hit": bool(row >= 0 and max(abs(x - column), abs(y - row)) <= half)}
                for k, (x, y) in enumerate(points.xy[i])
                if points.visible[i, k]
            ]
            known = {"which": which, "prototype": int(j), "frequency": float(frequency[j]), "place": place}
            region = box if row >= 0 else None
            rows.append(known | {"png": encode_png(pixels[i]), "region": region, "points": seen})
    return rows
