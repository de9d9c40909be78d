"""What a comparison of recourses found: what the first of them change, and whether the headline claim holds.

Krishna, Ma and Lakkaraju, "Towards Bridging the Gaps between the Right to Explanation and the Right to be Forgotten",
ICML 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from winnow.evaluate.recourse_data import budget_name
from winnow.evaluate.recourse_experiment import ENOUGH, Comparison, Results


def point_rows(comparison: Comparison, queries: int = 3) -> list[dict[str, Any]]:
    """What the recourses of the first queries change, feature by feature, in the table's units.

    Columns row_id, arm, budget, feature, before, after, change; the last in standard deviations.
    """
    data, rows = comparison.data, []
    for (arm, budget), points in comparison.results.points.items():
        for query, x, point in list(zip(comparison.query_ids, comparison.queries, points, strict=True))[:queries]:
            known = bool(np.isfinite(point).all())
            for i, name in enumerate(data.names):
                before, after = (float(v[i] * data.deviation[i] + data.mean[i]) for v in (x, point))
                moved = {"after": after, "change": float(point[i] - x[i])} if known else {"after": None, "change": None}
                row = {"row_id": int(query), "arm": arm, "budget": budget, "feature": name, "before": before}
                rows.append(row | moved)
    return rows


def verdict(results: Results, budgets: Sequence[float]) -> dict[str, Any]:
    """Whether the headline claim holds on one split: with refitted cuts at the budget, as published with slack."""
    found = {(system, variant, metric): value for system, variant, metric, value in results.metrics}
    names = [budget_name(budget) for budget in budgets]

    def every(system: str, metric: str) -> bool:
        return all((found.get((system, name, metric)) or 0) >= ENOUGH for name in names)

    def cheaper(system: str) -> bool:
        key = "wilcoxon_p_cheaper_than_roar"
        return all((found.get((system, name, key)) or 0) < 0.01 for name in names)

    parts = {
        "refit_holds_at_budget": every("refit", "validity_worst"),
        "published_holds_at_budget": every("published", "validity_worst"),
        "published_holds_with_slack": every("published", "validity_with_slack"),
        "refit_cheaper_than_roar": cheaper("refit"),
        "published_cheaper_than_roar": cheaper("published"),
    }
    needed = [name for name in parts if name != "published_holds_at_budget"]
    return parts | {"holds": all(parts[name] for name in needed)}
