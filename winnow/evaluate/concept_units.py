"""Units and weights of a network explained by concepts: dissection, and decomposition of a class into a basis.

Dissection: Bau, Zhou, Khosla, Oliva and Torralba, "Network Dissection", CVPR 2017. Interpretable basis decomposition:
Zhou, Sun, Bau and Torralba, ECCV 2018.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch.nn import functional

from winnow.errors import InputError

BATCH = 32  # images


def dissect(activations: np.ndarray, masks: np.ndarray, quantile: float = 0.005, least: float = 0.04) -> np.ndarray:
    """Intersection over union of units' strongest places with concepts' masks: float[units, K].

    activations: float[n, units, h, w]. masks: bool[n, K, H, W]. A unit's threshold is its `quantile` from the top over
    all places of all images; maps are then enlarged bilinearly. Values below `least` count as no match and are 0.
    """
    threshold = np.quantile(activations, 1 - quantile, axis=(0, 2, 3))
    both = np.zeros((activations.shape[1], masks.shape[1]))
    unit_area, concept_area = np.zeros(len(both)), masks.sum(axis=(0, 2, 3)).astype(float)
    for maps, shown in zip(
        torch.from_numpy(activations).split(BATCH), torch.from_numpy(masks).split(BATCH), strict=True
    ):
        enlarged = functional.interpolate(maps, size=masks.shape[2:], mode="bilinear", align_corners=False).numpy()
        on = (enlarged > threshold[:, None, None]).astype(np.float32)
        both += np.tensordot(on, shown.float().numpy(), axes=((0, 2, 3), (0, 2, 3)))
        unit_area += on.sum(axis=(0, 2, 3))
    union = unit_area[:, None] + concept_area[None] - both
    iou = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return np.where(iou >= least, iou, 0.0)


def basis_decomposition(weight: np.ndarray, vectors: np.ndarray, most: int = 10) -> tuple[np.ndarray, float]:
    """A class's weights as a positive combination of concepts' unit vectors, found greedily, and what remains.

    weight: float[d]. vectors: float[K, d]. Each step adds the concept that lowers the residual most and fits all again
    with non-negative coefficients. Returns float[K], zero where unused, and the residual's share of the squared length.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    total = float(np.linalg.norm(weight))
    if total == 0:
        raise InputError("the class has weights of 0; there is nothing to decompose")
    chosen: list[int] = []
    coefficients, residual = np.zeros(len(unit)), total
    for _ in range(min(most, len(unit))):
        trials = [(nnls(unit[[*chosen, k]].T, weight), k) for k in range(len(unit)) if k not in chosen]
        (values, left), k = min(trials, key=lambda trial: trial[0][1])
        if left >= residual - 1e-9 * total:
            break
        chosen.append(k)
        coefficients[chosen] = values
        residual = float(left)
    return coefficients, (residual / total) ** 2
