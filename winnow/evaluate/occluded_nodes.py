"""Occlusion in a model's own nodes: of two attributes the one with longer codes gets more telling features.

Makelov, Lange and Nanda, "Towards Principled Evaluations of Sparse Autoencoders for Interpretability and Control",
2024, see it in nodes of GPT-2 that hold both names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.stats import spearmanr

from winnow.evaluate.supervised_dictionaries import Features, supervised
from winnow.evaluate.supervised_study import told
from winnow.evaluate.task_scene import Scene

LARGER, SMALLER = "indirect", "subject"


def node_occlusion(scene: Scene, features: Sequence[Features]) -> dict[str, float]:
    """rank_correlation over nodes of length_ratio with told_more, and the range of each.

    length_ratio: logarithm of the mean length of codes of the name that comes over that of the other (codes of least
    squares). told_more: mean over names of the best F1 of a node's features for the name that comes, less that for the
    other; the best are those of the fit prompts, their F1 is that on the test prompts.
    """
    ratios, surplus = [], []
    for rows, held, own in zip(scene.seen.unbind(1), scene.held.unbind(1), features, strict=True):
        codes = supervised(rows, scene.fit.attributes).codes
        lengths = [float(codes[name].norm(dim=1).mean()) for name in (LARGER, SMALLER)]
        chosen, judged = told(own.encode(rows), scene.fit), told(own.encode(held), scene.test)
        mean = []
        for name in (LARGER, SMALLER):
            f1 = judged[name].f1.gather(0, chosen[name].f1.argmax(0, keepdim=True))[0]
            mean.append(float(f1[scene.test.attributes[name].unique()].mean()))
        ratios.append(float(torch.tensor(lengths[0] / lengths[1]).log()))
        surplus.append(mean[0] - mean[1])
    varies = len(set(ratios)) > 1 and len(set(surplus)) > 1
    return {
        "rank_correlation": float(spearmanr(ratios, surplus).statistic) if varies else 0.0,
        "length_ratio_range": max(ratios) - min(ratios),
        "told_more_range": max(surplus) - min(surplus),
    }
