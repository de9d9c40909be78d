"""All ways to a recourse on one table and one model, with the same queries, the same margin and the same audits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from winnow.attribution.influence import influence
from winnow.errors import InputError
from winnow.evaluate.recourse_audit import Refit, audit, drops, strongest_adversary
from winnow.evaluate.recourse_networks import FittedNetwork, network_recourse, network_validity, surrogate_recourse
from winnow.evaluate.recourse_search import Margins, cchvae, fit_autoencoder, linear_least, wachter
from winnow.evaluate.robust_recourse import Cuts, cutting_planes, extra_cost_bound, length, roar, robust_recourse
from winnow.models.tables import TableEncoder
from winnow.statistics import wilcoxon
from winnow.workloads.splits import first_by_hash, hash_split
from winnow.workloads.tables import Tables

SLACK = 2.5
"""A recourse made for a budget is also audited at the budget over this."""
ENOUGH = 0.95
"""Share of recourses that have to hold."""


@dataclass(frozen=True)
class RecourseData:
    """Standardised rows of a table, split for one seed, with 1 for the favourable class."""

    x: np.ndarray
    """float64[n, d], training rows."""
    y: np.ndarray
    """float64[n], 0 or 1."""
    test: np.ndarray
    """float64[m, d], rows that may ask."""
    test_ids: np.ndarray
    """int64[m], their row_id."""
    names: list[str]
    """Of the d features."""
    mean: np.ndarray
    """float64[d]: x is (value - mean) / deviation."""
    deviation: np.ndarray
    immutable: np.ndarray
    """bool[d]."""


def recourse_data(
    workload: Tables, favourable: str, seed: int, immutable: Sequence[str] = (), limit: int | None = None
) -> RecourseData:
    """A table's rows, four fifths for training, split by hash anew for each seed and stratified by class.

    favourable: a class; or high or low, above or below the median of the training targets. Raises InputError for a
    class or a column that the table does not have.
    """
    parts = [workload.arrays(split) for split in ("train", "valid", "test")]
    inputs, target = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
    ids = np.concatenate([workload.table(split)["row_id"].to_numpy() for split in ("train", "valid", "test")])
    if limit is not None:
        chosen = torch.from_numpy(first_by_hash(ids, "robust recourse", limit))
        inputs, target, ids = inputs[chosen], target[chosen], ids[chosen.numpy()]
    known = workload.classes or ["high", "low"]
    if favourable not in known:
        raise InputError(f"favourable is {favourable!r}; it must be one of {', '.join(known)}")
    for name in immutable:
        if name not in workload.inputs:
            raise InputError(f"immutable names {name!r}; the columns are {', '.join(workload.inputs)}")
    if workload.task == "regression":
        above = (target > target.median()).numpy()
        accepted = above if favourable == "high" else ~above
    else:
        accepted = (target == workload.classes.index(favourable)).numpy()
    split = hash_split(ids, accepted.astype(np.int64), f"robust recourse {seed}", {"train": 0.8, "test": 0.2})
    train = split == "train"
    encoder = TableEncoder(workload.levels).double()
    rows = encoder(inputs.double()).numpy()
    mean, deviation = rows[train].mean(axis=0), rows[train].std(axis=0)
    deviation[deviation < 1e-12] = 1.0
    rows = (rows - mean) / deviation
    stays = np.isin(workload.inputs, immutable)[encoder.source.numpy()]
    y = accepted.astype(np.float64)
    return RecourseData(
        rows[train], y[train], rows[~train], ids[~train], workload.encoded_names(), mean, deviation, stays
    )


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


def budget_name(budget: float) -> str:
    """How variants are named after a budget: 0.005 is "b0.5"."""
    return f"b{round(100 * budget, 6):g}"


def rows_of(budget: float, n: int) -> int:
    """How many of n rows a budget is, one at least."""
    return max(1, round(budget * n))


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
