"""All ways to a recourse on one table and one model, with the same queries, the same margin and the same audits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from winnow.attribution.influence import influence
from winnow.errors import InputError
from winnow.evaluate.nearest_point import length
from winnow.evaluate.recourse_audit import Refit, audit, drops, strongest_adversary
from winnow.evaluate.recourse_data import RecourseData, budget_name, rows_of
from winnow.evaluate.recourse_search import Margins, cchvae, fit_autoencoder, linear_least, wachter
from winnow.evaluate.robust_recourse import Cuts, cutting_planes, extra_cost_bound, roar, robust_recourse
from winnow.statistics import wilcoxon

SLACK = 2.5
"""A recourse made for a budget is also audited at the budget over this."""
ENOUGH = 0.95
"""Share of recourses that have to hold."""


@dataclass
class Results:
    """What one run found, as rows of its tables."""

    metrics: list[tuple[str, str, str, float | None]] = field(default_factory=list)
    """system, variant, metric, value."""
    recourses: list[dict[str, Any]] = field(default_factory=list)
    audits: list[dict[str, Any]] = field(default_factory=list)
    influence_error: list[dict[str, Any]] = field(default_factory=list)
    points: dict[tuple[str, float], np.ndarray] = field(default_factory=dict)
    """(arm, budget) -> float64[queries, d]; a budget of 0 where the arm knows none."""
    validity: dict[tuple[str, float], float] = field(default_factory=dict)
    """(arm, budget) -> share that holds against the influence adversary."""


class Comparison:
    """The arms on one split of one table; settings as params.yaml has them."""

    def __init__(self, data: RecourseData, settings: Any, seed: int) -> None:
        self.data, self.settings, self.seed = data, settings, seed
        self.model = influence(data.x, data.y, settings.ridge)
        self.refit = Refit(data.x, data.y, settings.ridge, self.model.theta)
        rejected = data.test @ self.model.theta[:-1] + self.model.theta[-1] < 0
        self.queries = data.test[rejected][: settings.queries]
        self.query_ids = data.test_ids[rejected][: settings.queries]
        if not len(self.queries):
            raise InputError("robust_recourse: the model rejects no test row; name another favourable class")
        self.results = Results()

    def run(self) -> Results:
        """Make and audit every arm at every budget."""
        self._budgetless()
        for budget in self.settings.budgets:
            self._at(budget)
        self._against_roar()
        return self.results

    def _options(self) -> dict[str, Any]:
        immutable = self.data.immutable if self.data.immutable.any() else None
        return {"immutable": immutable, "margin": self.settings.margin}

    def _each(self, make: Callable[[np.ndarray], Any], arm: str, budget: float) -> np.ndarray:
        """Points of an arm that goes query by query."""
        found = [make(x) for x in self.queries]
        for query, recourse in zip(self.query_ids, found, strict=True):
            self.results.recourses.append(
                {
                    "arm": arm,
                    "budget": budget,
                    "row_id": int(query),
                    "cost": recourse.cost,
                    "margin": recourse.margin,
                    "rounds": recourse.rounds,
                    "status": recourse.status,
                    "deleted": recourse.rows.tolist(),
                }
            )
        missing = np.full(self.queries.shape[1], np.nan)
        return np.stack([missing if r.point is None else r.point for r in found])

    def _thetas(self, more: list[np.ndarray] | None = None) -> torch.Tensor:
        own = np.tile(self.model.theta, (len(self.queries), 1))
        return torch.from_numpy(np.stack([own, *([np.stack(more)] if more else [])], axis=1))

    def _mutable(self, least: Margins) -> Margins:
        """The least output where immutable features stay as they are, whatever the points say."""
        stays, x = torch.from_numpy(self.data.immutable), torch.from_numpy(self.queries)
        return lambda p: least(torch.where(stays, x if p.ndim == 2 else x[:, None], p))

    def _searched(self, thetas: torch.Tensor) -> np.ndarray:
        """By Wachter's descent, which leaves features alone that change neither output nor cost."""
        least = self._mutable(linear_least(thetas))
        return wachter(torch.from_numpy(self.queries), least, margin=self.settings.margin).numpy()

    def _budgetless(self) -> None:
        """Arms that do not know how much may be erased."""
        s, options = self.settings, self._options()
        points = {"plain": self._each(lambda x: robust_recourse(x, self.model, 0, **options), "plain", 0)}
        points["wachter"] = self._searched(self._thetas())
        for delta in s.roar_deltas:
            make = partial(roar, theta=self.model.theta, delta=delta, **options)
            points[f"roar_{delta:g}"] = self._each(make, f"roar_{delta:g}", 0)
        autoencoder = fit_autoencoder(torch.from_numpy(self.data.x), self.seed)
        x = torch.from_numpy(self.queries)
        decoded = cchvae(x, self._mutable(linear_least(self._thetas())), autoencoder, self.seed, margin=s.margin)
        points["cchvae"] = np.where(self.data.immutable, self.queries, decoded.numpy())
        for arm, found in points.items():
            self.results.points[arm, 0] = found
            for budget in s.budgets:
                self._score(arm, budget, found)

    def _at(self, budget: float) -> None:
        """Arms made for a budget."""
        s, options, n = self.settings, self._options(), len(self.data.x)
        k = rows_of(budget, n)
        phi = np.column_stack([self.queries, np.ones(len(self.queries))])
        points = {}
        shifted = [self.model.without(self.model.worst(row, k)) for row in phi]
        points["published"] = self._searched(self._thetas(shifted))
        cuts: Cuts
        for cuts in ("query", "iterative", "newton", "refit"):
            own = options | ({"margin": s.refit_margin} if cuts in ("newton", "refit") else {})
            make = partial(robust_recourse, influence=self.model, k=k, cuts=cuts, refit=self.refit, **own)
            points[cuts] = self._each(make, cuts, budget)
        own = options | {"margin": s.refit_margin, "adversary": strongest_adversary(self.model, self.refit, k)}
        points["strongest"] = self._each(partial(cutting_planes, theta=self.model.theta, **own), "strongest", budget)
        plain = self.results.points["plain", 0]
        ratio = length(points["refit"] - self.queries) / length(plain - self.queries)
        points["wider"] = self.queries + ratio[:, None] * (plain - self.queries)
        for arm, found in points.items():
            self.results.points[arm, budget] = found
            self._score(arm, budget, found)
        self._influence_error(budget, k, plain)

    def _score(self, arm: str, budget: float, points: np.ndarray) -> None:
        """Audit an arm's points at a budget and at the smaller one, and note what they cost."""
        n = len(self.data.x)
        k = rows_of(budget, n)
        levels = [
            ("influence", k, "validity_worst"),
            ("greedy", k, "validity_greedy"),
            ("random", k, "validity_random"),
            ("influence", rows_of(budget / SLACK, n), "validity_with_slack"),
        ]
        name = budget_name(budget)
        for adversary, rows, metric in levels:
            valid, least = audit(points, self.model, self.refit, rows, adversary, self.seed)  # type: ignore[arg-type]
            self.results.metrics.append((arm, name, metric, float(valid.mean())))
            if metric == "validity_worst":
                self.results.validity[arm, budget] = float(valid.mean())
            for query, share, low in zip(self.query_ids, valid, least, strict=True):
                self.results.audits.append(
                    {
                        "method": arm,
                        "budget": budget,
                        "row_id": int(query),
                        "deleted": rows,
                        "adversary": adversary,
                        "valid": float(share),
                        "margin": None if np.isnan(low) else float(low),
                    }
                )
        cost, plain = self._cost(points), self._cost(self.results.points.get(("plain", 0), points))
        both = np.isfinite(cost) & np.isfinite(plain)
        self.results.metrics += [
            (arm, name, "found", float(np.isfinite(cost).mean())),
            (arm, name, "cost", float(cost[np.isfinite(cost)].mean()) if np.isfinite(cost).any() else None),
            (arm, name, "cost_ratio", float((cost[both] / plain[both]).mean()) if both.any() else None),
        ]

    def _cost(self, points: np.ndarray) -> np.ndarray:
        return length(points - self.queries)

    def _influence_error(self, budget: float, k: int, plain: np.ndarray) -> None:
        """How far the first order understates what deletions do at the plain recourses, and the bound on the cost."""
        found = np.isfinite(plain).all(axis=1)
        predicted, true = drops(plain[found], self.model, self.refit, k)
        rows = zip(self.query_ids[found], predicted, true, strict=True)
        self.results.influence_error += [
            {"budget": budget, "row_id": int(i), "predicted": float(p), "true": float(t)} for i, p, t in rows
        ]
        bounds = [extra_cost_bound(self.model, point, k) for point in plain[found]]
        extra = self._cost(self.results.points["iterative", budget])[found] - self._cost(plain)[found]
        name = budget_name(budget)
        self.results.metrics += [
            ("influence", name, "drop_ratio", float(np.median(true / predicted))),
            ("influence", name, "extra_cost", float(np.nanmean(extra))),
            ("influence", name, "extra_cost_bound", float(np.mean(bounds)) if np.isfinite(bounds).all() else None),
        ]

    def _against_roar(self) -> None:
        """Per budget, ROAR with the least delta that holds as often as each method, chosen in its favour on the
        audit."""
        for budget in self.settings.budgets:
            for arm, reach in (("refit", self.results.validity["refit", budget]), ("published", ENOUGH)):
                small = budget / SLACK if arm == "published" else budget
                found = self._matching_roar(small, reach)
                name, system = budget_name(budget), f"roar_against_{arm}"
                if found is None:
                    self.results.metrics.append((system, name, "reached", 0.0))
                    continue
                delta, theirs = found
                own = self._cost(self.results.points[arm, budget])
                both = np.isfinite(own) & np.isfinite(theirs)
                plain = self._cost(self.results.points["plain", 0])
                cheaper = wilcoxon((own - theirs)[both], alternative="less").p_value if both.any() else None
                self.results.metrics += [
                    (system, name, "reached", 1.0),
                    (system, name, "delta", delta),
                    (system, name, "cost_ratio", float((theirs[both] / plain[both]).mean()) if both.any() else None),
                    (arm, name, "wilcoxon_p_cheaper_than_roar", cheaper),
                ]

    def _matching_roar(self, budget: float, reach: float) -> tuple[float, np.ndarray] | None:
        """The least delta that holds as often, to a sixteenth of the gap in the grid, and what its points cost."""
        k, low = rows_of(budget, len(self.data.x)), 0.0
        for delta in self.settings.roar_deltas:
            points = self.results.points[f"roar_{delta:g}", 0]
            if self._holds(points, k) >= min(reach, ENOUGH):
                break
            low = delta
        else:
            return None
        for _ in range(4):
            middle = (low + delta) / 2
            found = [roar(x, self.model.theta, middle, **self._options()).point for x in self.queries]
            between = np.stack([np.full(self.queries.shape[1], np.nan) if p is None else p for p in found])
            if self._holds(between, k) >= min(reach, ENOUGH):
                delta, points = middle, between
            else:
                low = middle
        return delta, self._cost(points)

    def _holds(self, points: np.ndarray, k: int) -> float:
        return float(audit(points, self.model, self.refit, k, "influence")[0].mean())
