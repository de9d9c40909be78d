"""Occlusion in a model's own nodes: of two attributes the one with longer codes gets more telling features.

Makelov, Lange and Nanda, "Towards Principled Evaluations of Sparse Autoencoders for Interpretability and Control",
2024, see it in nodes of GPT-2 that hold both names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.stats import spearmanr

from winnow.evaluate.supervised_dictionaries import Features, interpret, supervised
from winnow.evaluate.supervised_study import Scene
from winnow.workloads.names_language import NAMES

LARGER, SMALLER = "indirect", "subject"


def node_occlusion(scene: Scene, features: Sequence[Features]) -> dict[str, float]:
    """rank_correlation over nodes of length_ratio with told_more, and the range of each.

    length_ratio: logarithm of the mean length of codes of who receives over that of who gives (codes of least squares).
    told_more: mean over names of the best F1 of a node's features for who receives, less that for who gives.
    """
    ratios, surplus = [], []
    for rows, own in zip(scene.seen.unbind(1), features, strict=True):
        codes = supervised(rows, scene.fit.attributes).codes
        lengths = [float(codes[name].norm(dim=1).mean()) for name in (LARGER, SMALLER)]
        active = own.encode(rows) != 0
        told = [
            float(interpret(active, scene.fit.attributes[name], len(NAMES)).f1.max(0).values.mean())
            for name in (LARGER, SMALLER)
        ]
        ratios.append(float(torch.tensor(lengths[0] / lengths[1]).log()))
        surplus.append(told[0] - told[1])
    varies = len(set(ratios)) > 1 and len(set(surplus)) > 1
    return {
        "rank_correlation": float(spearmanr(ratios, surplus).statistic) if varies else 0.0,
        "length_ratio_range": max(ratios) - min(ratios),
        "told_more_range": max(surplus) - min(surplus),
    }
