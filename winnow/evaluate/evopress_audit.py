"""Whether errors of dropped blocks add up, and whether dropping more can be better: all small sets of blocks tried.

Sieberling et al., "EvoPress", ICML 2025, Section 3: the error of a compressed model is not monotone in what is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import kendalltau, spearmanr
from torch import Tensor

from winnow.compress.evopress import Fitness, State
from winnow.compress.evopress_database import Database
from winnow.evaluate.evopress_study import window_losses
from winnow.models.transformer import Transformer
from winnow.statistics import bootstrap_interval

CONFIRMED = 3
"""Violations that are looked at again on other files: those that gain most."""

VIOLATIONS = pa.schema(
    {
        "fewer": pa.list_(pa.int64()),
        "more": pa.list_(pa.int64()),
        **dict.fromkeys(("gain", "judged", "low", "high"), pa.float64()),
    }
)

Rows = list[dict[str, Any]]


def _state(units: int, dropped: tuple[int, ...]) -> State:
    return tuple(int(unit in dropped) for unit in range(units))


def monotonicity_audit(
    database: Database, fitness: Fitness, sequences: int, most: int, progress: Callable[[int, int], None] | None = None
) -> Rows:
    """All sets of 1 to `most` dropped units: dropped (list), sum_of_errors of its units alone, and its true error."""
    units = len(database.names)
    sets = [chosen for size in range(1, most + 1) for chosen in combinations(range(units), size)]
    drawn, errors, rows = np.arange(sequences), {}, []
    for done, chosen in enumerate(sets):
        errors[chosen] = fitness(_state(units, chosen), drawn)
        rows.append(
            {"dropped": list(chosen), "sum_of_errors": sum(errors[unit,] for unit in chosen), "error": errors[chosen]}
        )
        if progress:
            progress(done + 1, len(sets))
    return rows


def violations(rows: Rows) -> Rows:
    """Pairs of a set and one with a unit more whose error is lower: fewer, more, gain; the largest gain first."""
    errors = {tuple(row["dropped"]): row["error"] for row in rows}
    found = [
        {"fewer": list(fewer), "more": list(more), "gain": errors[fewer] - errors[more]}
        for more in errors
        if len(more) > 1
        for fewer in combinations(more, len(more) - 1)
        if errors[fewer] > errors[more]
    ]
    return sorted(found, key=lambda row: (-row["gain"], row["fewer"], row["more"]))


def confirmed(found: Rows, model: Transformer, database: Database, x: Tensor, y: Tensor) -> Rows:
    """The first violations with what they gain in cross-entropy on other windows: judged, low and high (bootstrap)."""
    units, rows = len(database.names), []
    for row in found[:CONFIRMED]:
        losses = [
            window_losses(model, database.parameters(_state(units, tuple(row[which]))), x, y)
            for which in ("fewer", "more")
        ]
        gain = bootstrap_interval(losses[0] - losses[1])
        rows.append(row | {"judged": gain.estimate, "low": gain.low, "high": gain.high})
    return rows


def audit_summary(rows: Rows, checked: Rows) -> dict[str, float]:
    """How well sums of errors rank sets of each size, and how many violations there are.

    spearman_n and inversions_n (share of pairs in the wrong order) for sets of n, additive_excess_n: the error of the
    set with the least sum over that of the best set. violations; confirmed: those whose gain on other windows is above
    zero with its interval; gain: the largest lower end of these intervals.
    """
    summary: dict[str, float] = {}
    for size in sorted({len(row["dropped"]) for row in rows} - {1}):
        some = [row for row in rows if len(row["dropped"]) == size]
        sums = np.array([row["sum_of_errors"] for row in some])
        errors = np.array([row["error"] for row in some])
        summary[f"spearman_{size}"] = float(spearmanr(sums, errors).statistic)
        # tau is the share of pairs in order less that in the wrong order
        summary[f"inversions_{size}"] = (1 - float(kendalltau(sums, errors).statistic)) / 2
        summary[f"additive_excess_{size}"] = float(errors[sums.argmin()] / errors.min())
    summary["violations"] = float(len(violations(rows)))
    summary["confirmed"] = float(sum(row["low"] > 0 for row in checked))
    return summary | ({"gain": max(row["low"] for row in checked)} if checked else {})
