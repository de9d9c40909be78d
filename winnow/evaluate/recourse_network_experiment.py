"""The ways to a recourse from a network, with the same queries and the same audit.

Krishna, Ma and Lakkaraju, "Towards Bridging the Gaps between the Right to Explanation and the Right to be Forgotten",
ICML 2023.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from winnow.errors import InputError
from winnow.evaluate.nearest_point import length
from winnow.evaluate.recourse_data import RecourseData, budget_name, rows_of
from winnow.evaluate.recourse_experiment import SLACK
from winnow.evaluate.recourse_networks import FittedNetwork, network_recourse, network_validity, surrogate_recourse


def network_metrics(data: RecourseData, settings: Any, seed: int) -> list[tuple[str, str, str, float | None]]:
    """The same question to a softplus network: rows (system, variant, metric, value)."""
    model = FittedNetwork(data.x, data.y, settings.ridge, seed)
    rejected = (model.network(model.theta, torch.from_numpy(data.test)) < 0).numpy()
    x = data.test[rejected][: settings.network_queries]
    if not len(x):
        raise InputError("robust_recourse: the network rejects no test row; name another favourable class")
    plain = network_recourse(model, x, 0, margin=settings.margin)
    base = length(plain - x)
    rows: list[tuple[str, str, str, float | None]] = []
    for budget in settings.network_budgets:
        k = rows_of(budget, len(data.x))
        arms = {
            "network_plain": plain,
            "network_linearised": network_recourse(model, x, k, margin=settings.margin),
            "network_linearised_rounds": network_recourse(model, x, k, rounds=4, margin=settings.margin),
            "network_surrogate": surrogate_recourse(model, x, k, seed, margin=settings.margin),
            "network_roar": surrogate_recourse(model, x, k, seed, delta=0.1, margin=settings.margin),
        }
        for arm, points in arms.items():
            cost = length(points - x)
            both = np.isfinite(cost) & np.isfinite(base)
            for share, metric in ((budget, "validity_worst"), (budget / SLACK, "validity_with_slack")):
                least = network_validity(model, points, rows_of(share, len(data.x)))
                rows.append((arm, budget_name(budget), metric, float((least >= 0).mean())))
            rows.append((arm, budget_name(budget), "found", float(np.isfinite(cost).mean())))
            ratio = float((cost[both] / base[both]).mean()) if both.any() else None
            rows.append((arm, budget_name(budget), "cost_ratio", ratio))
    return rows
