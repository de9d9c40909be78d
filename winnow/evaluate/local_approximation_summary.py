"""What claims about explanations as local fits are judged by, from what the study measured.

Han, Srinivas and Lakkaraju, "Which Explanation Should I Choose? A Function Approximation Perspective to Characterizing
Post Hoc Explanations", NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from winnow.evaluate.local_approximation import ADDITIVE, METHODS, MULTIPLICATIVE
from winnow.evaluate.local_approximation_study import Explained, Rows
from winnow.statistics import holm, wilcoxon

EQUAL = {frozenset({"c_lime", "smoothgrad"})}
"""Pairs that agree in expectation, so that which of the two is nearer is chance."""
GROUPS = {"binary": ("multiplicative", MULTIPLICATIVE, ADDITIVE), "continuous": ("additive", ADDITIVE, MULTIPLICATIVE)}
"""Perturbation -> the group that should win, its methods, and the others': the noise that each method knows."""
Found = list[tuple[str, str, dict[str, float]]]
"""(system, variant, metric -> value)."""


def own_and_nearest_other(rows: Rows, method: str, kind: str) -> tuple[float, float]:
    """A method's distance from itself, and the least one from any other, in either form."""
    own, others = float("nan"), []
    for row in rows:
        pair = {row["framework"], row["native"]}
        if row["kind"] != kind or method not in pair:
            continue
        if len(pair) == 1:
            own = row["value"]
        elif frozenset(pair) not in EQUAL:
            others.append(row["value"])
    return own, min(others)


def monotone(rows: Rows, method: str) -> float:
    """Spearman's correlation of step and distance: -1 where every step is nearer to the limit."""
    found = [(row["step"], row["value"]) for row in rows if row["method"] == method]
    return float(spearmanr(*zip(*found, strict=True)).statistic)


def worst_excess(rows: Rows, neighbourhood: str) -> float:
    """By how many standard errors the neighbourhood's own method is above the best of the others; negative below."""
    found = [
        row["excess"] / max(row["error"], 1e-9 * row["value"], 1e-12)  # equal methods differ in the last bits
        for row in rows
        if row["neighbourhood"] == neighbourhood and row["method"] != neighbourhood
    ]
    return max(found)


def group_gap(rows: Rows, kind: str, k: int) -> tuple[float, float]:
    """The worst of the group that should win and the best of the other, perturbing the k least features."""
    _, winners, others = GROUPS[kind]
    at = {row["method"]: row["value"] for row in rows if (row["kind"], row["end"], row["k"]) == (kind, "bottom", k)}
    return max(at[name] for name in winners), min(at[name] for name in others)


def group_p(changed: Mapping[str, Tensor], kind: str) -> float:
    """The largest p-value, by Wilcoxon's test over the points and Holm's correction over all pairs of a method that
    should win and one that should not, that the first changes the output no less. changed: method -> float64[n]."""
    _, winners, others = GROUPS[kind]
    pairs = [(changed[a] - changed[b]).numpy() for a in winners for b in others]
    return float(np.max(holm([wilcoxon(pair, alternative="less").p_value for pair in pairs])))


def attributions(explained: Explained) -> Rows:
    """All weights: method, form, row, feature, weight, error; the methods by themselves give no error."""
    rows = []
    for name, found in explained.framework.items():
        for form, weights, errors in (
            ("framework", found.weights, found.error),
            ("native", explained.native[name], torch.full_like(found.weights, float("nan"))),
        ):
            rows += [
                {
                    "method": name,
                    "form": form,
                    "row": i,
                    "feature": j,
                    "weight": float(weights[i, j]),
                    "error": None if errors[i, j].isnan() else float(errors[i, j]),
                }
                for i in range(weights.shape[0])
                for j in range(weights.shape[1])
            ]
    return rows


def summary(tables: Mapping[str, Rows], changed: Mapping[str, Mapping[str, Tensor]], model: str, k: int) -> Found:
    """What was found of one model; variants end in its name.

    changed: perturbation -> method -> float64[n], the change of the output where the k least features are perturbed.
    """
    found: Found = []
    for method in METHODS:
        for kind in ("l1", "cosine"):
            own, other = own_and_nearest_other(tables["distances"], method, kind)
            found += [
                (method, f"own-on-{model}", {f"distance_{kind}": own}),
                (method, f"nearest_other-on-{model}", {f"distance_{kind}": other}),
            ]
        found.append((method, f"own-on-{model}", {"excess_loss": worst_excess(tables["losses"], method)}))
    for method in ("smoothgrad", "integrated_gradients"):
        found.append((method, f"limits-on-{model}", {"spearman": monotone(tables["limits"], method)}))
    for kind, (group, _, _) in GROUPS.items():
        own, other = group_gap(tables["perturbation"], kind, k)
        p = group_p(changed[kind], kind)
        found.append((group, f"{kind}-on-{model}", {"output_change": own, "wilcoxon_p": p}))
        found.append(("other", f"{kind}-on-{model}", {"output_change": other}))
    return found


def summary_of_known(recovery: Rows, blind: Explained) -> Found:
    """What was found of functions that are known, and of a model without gradients, which `blind` explains."""
    found: Found = [
        (row["method"], f"{row['function']}_by_{row['family']}", {"recovery_error": row["error"]}) for row in recovery
    ]
    return found + [(name, "without_gradients", {"explained": float(name in blind.native)}) for name in METHODS]
