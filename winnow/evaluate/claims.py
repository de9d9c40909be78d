"""The claims ledger: each claim of claims.yaml judged on metrics rows.

A claim makes one comparison, or several (its points, its right-hand sides). Each comparison pairs the rows of two
sides, usually by seed, and turns every pair into one number that is above 0 (difference) or 1 (ratio) where the
claim's side is better. The test then puts an interval around their mean:

    bootstrap  percentile bootstrap of the mean, exact up to 9 pairs
    paired_t   Student's interval of the mean
    sign       order statistics around the median; each bound one-sided, so that 5 pairs can suffice
    exact      the worst and the best pair, for what must be so in every pair

A comparison *holds* where its interval lies above the smallest effect that counts, or, for a claim of equivalence,
inside its bounds (with 90 % intervals for 95 % confidence, which is two one-sided tests). The claim then

    holds          where as many comparisons hold as it requires, all unless it says otherwise
    not run        where it does not, and rows or pairs are missing for some comparison
    partly         where some hold
    does not hold  where none does

A point at which the claim's condition never occurs is left out of the count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow import statistics
from winnow.errors import InputError
from winnow.evaluate.claims_schema import Claim, Measure, Point, Selector, Side
from winnow.pipeline.tables import METRICS_SCHEMA

VERDICTS = ["holds", "partly", "does not hold", "not run", "not checked: needs people"]
SCALES = ["smoke", "laptop", "paper"]
CLAIMS_SCHEMA = pa.schema(
    [
        ("claim", pa.string()),
        ("system", pa.string()),
        ("point", pa.string()),
        ("left", pa.string()),
        ("right", pa.string()),
        ("verdict", pa.string()),
        ("effect", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int32()),
        ("unit", pa.string()),
        ("smallest", pa.float64()),
        ("largest", pa.float64()),
        ("p_value", pa.float64()),
        ("test", pa.string()),
        ("note", pa.string()),
        ("statement", pa.string()),
        ("paper", pa.string()),
    ]
)

Cells = dict[tuple, float]


class _NotRun(Exception):
    """A comparison cannot be made; the message says what is missing."""


class _NotApplicable(_NotRun):
    """The claim's condition never occurs at this point."""


@dataclass(frozen=True)
class _Comparison:
    """One row of the result."""

    point: str
    left: str
    right: str
    verdict: str = "not run"
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    p_value: float | None = None
    note: str = ""
    applies: bool = field(default=True, compare=False)


def evaluate_claims(
    claims: Sequence[Claim], metrics: pa.Table, seed: int = 0, scale: str | None = None
) -> pa.Table:
    """Judge claims on the rows of metrics tables; the verdict rule stands at the head of this file.

    claims: from `load_claims`. metrics: rows of the metrics schema, from all stages. seed: of the bootstrap's
    resamples beyond 9 pairs. scale: of the run; a claim of a larger scale is not run. Returns rows of CLAIMS_SCHEMA:
    for each claim one overall row, whose `point` is null and whose figures are those of its weakest comparison, then
    one row per comparison. `effect`, `low` and `high` are differences in the metric's unit, or ratios; an infinite
    bound is null. A comparison without rows is "not run", and its note says which are missing.
    Raises InputError for a metrics table without the columns of the schema.
    """
    missing = [name for name in METRICS_SCHEMA.names if name not in metrics.column_names]
    if missing:
        raise InputError(f"metrics: no column {missing[0]!r}; give rows of the metrics schema")
    rows: list[dict[str, Any]] = []
    for claim in claims:
        rows += [_row(claim, comparison) for comparison in _evaluate(claim, metrics, seed, scale)]
    return pa.Table.from_pylist(rows, schema=CLAIMS_SCHEMA)


def _row(claim: Claim, comparison: _Comparison) -> dict[str, Any]:
    low, high = claim.within or (claim.effect, None)
    return {
        **{name: getattr(comparison, name) for name in CLAIMS_SCHEMA.names if hasattr(comparison, name)},
        "claim": claim.id,
        "system": claim.system,
        "point": comparison.point or None,
        "smallest": low,
        "largest": high,
        "test": None if claim.needs else claim.test,
        "statement": claim.statement,
        "paper": f"{claim.paper.authors}: {claim.paper.title}. {claim.paper.venue}, {claim.paper.year}",
    }


def _evaluate(claim: Claim, metrics: pa.Table, seed: int, scale: str | None) -> list[_Comparison]:
    """The overall row, then one row per comparison."""
    if claim.measure is None:
        return [_Comparison("", "", "", f"not checked: needs {claim.needs}")]
    if scale is not None and SCALES.index(scale) < SCALES.index(claim.scale):
        return [_Comparison("", "", "", note=f"judged at scale {claim.scale} and above; this run is {scale}")]
    rows = [
        _compare(claim, name, sides, metrics, seed) for name, sides in _comparisons(claim.measure).items()
    ]
    if claim.correction == "holm":
        rows = _corrected(claim, rows)
    return [_overall(claim, rows), *(rows if len(rows) > 1 else [])]


def _overall(claim: Claim, rows: list[_Comparison]) -> _Comparison:
    counted = [row for row in rows if row.applies]
    holding = sum(row.verdict == "holds" for row in counted)
    required = len(counted) if claim.require == "all" else claim.require
    absent = [row for row in counted if row.verdict == "not run"]
    judged = [row for row in rows if row.effect is not None]
    if not judged:
        notes = "; ".join(dict.fromkeys(row.note for row in absent or rows))
        return _Comparison("", rows[0].left, rows[0].right, note=notes)
    if holding >= required:
        verdict = "holds"
    elif absent:
        verdict = "not run"
    else:
        verdict = "partly" if holding else "does not hold"
    weakest = min(judged, key=lambda row: _margin(claim, row))
    note = f"{holding} of {len(counted)} comparisons hold" if len(rows) > 1 else weakest.note
    if absent and len(rows) > 1:
        note += f"; {len(absent)} not run: {absent[0].note}"
    return replace(weakest, point="", verdict=verdict, note=note)


def _margin(claim: Claim, row: _Comparison) -> float:
    """How far the interval lies inside what is claimed; below 0 outside."""
    low = -np.inf if row.low is None else row.low
    high = np.inf if row.high is None else row.high
    if claim.within:
        return min(low - claim.within[0], claim.within[1] - high)
    return low - (claim.effect or 0.0)


def _comparisons(measure: Measure) -> dict[tuple[str, str], tuple[Selector, list[Side]]]:
    """(point, right-hand label) -> the two sides, everything that the measure and the point say filled in."""
    found = {}
    for name, point in (measure.points or {"": Point()}).items():
        left = _merged(measure, point, measure.left, point.left)
        rights = [
            side if side.value is not None else _merged(measure, point, side)
            for side in (_laid_over(right, point.right) for right in measure.right)
        ]
        groups = [rights] if measure.against == "best" else [[right] for right in rights]
        for group in groups:
            shared = [name] if name else []
            label = ", ".join(_label(right, left) for right in group)
            unique = shared + ([f"over {label}"] if len(groups) > 1 else [])
            found[" ".join(unique), f"best of {label}" if len(group) > 1 else label] = (left, group)
    return found


def _laid_over(side: Side, point: Side) -> Side:
    return side.model_copy(update=point.model_dump(exclude_none=True))


def _merged(*parts: Selector) -> Side:
    """Later parts override earlier ones."""
    said: dict[str, Any] = {}
    for part in parts:
        said |= {k: getattr(part, k) for k in Side.model_fields if getattr(part, k, None) is not None}
    return Side(**said)


def _label(side: Side, left: Selector) -> str:
    """What tells a side from the left-hand one."""
    if side.value is not None:
        return f"{side.value:g}"
    names = ["system", "workload", "variant", "split", "metric"]
    told = [name for name in names if getattr(side, name) != getattr(left, name)] or ["system"]
    return " ".join(_text(getattr(side, name)) for name in told)


def _text(value: str | list[str] | None) -> str:
    return " + ".join(value) if isinstance(value, list) else str(value)


def _compare(
    claim: Claim,
    name: tuple[str, str],
    sides: tuple[Selector, list[Side]],
    metrics: pa.Table,
    seed: int,
) -> _Comparison:
    assert claim.measure is not None
    left, rights = sides
    row = _Comparison(name[0], " ".join(_text(v) for v in (left.system, left.variant) if v), name[1])
    try:
        values, unit, note = _pairs(claim.measure, left, rights, metrics)
        if len(values) < claim.minimum_pairs:
            raise _NotRun(
                f"{row.right}: {len(values)} pairs of the {claim.minimum_pairs} needed; {note}".rstrip("; ")
            )
        return _judge(claim, values, seed, replace(row, n=len(values), unit=unit, note=note))
    except _NotRun as reason:
        return replace(row, note=str(reason), applies=not isinstance(reason, _NotApplicable))


def _judge(claim: Claim, values: np.ndarray, seed: int, row: _Comparison) -> _Comparison:
    """The interval, p-value and verdict of one comparison. values: float[n], differences or logarithms of ratios."""
    assert claim.measure is not None
    ratio = claim.measure.compare == "ratio"
    low, high = claim.within or (claim.effect, np.inf)
    if ratio:
        low, high = np.log([low, high])
    interval = _interval(claim, values, seed)
    inside = low <= interval.low and interval.high <= high if claim.within else interval.low > low
    shown = [float(np.exp(x)) if ratio else x for x in interval]
    effect, shown_low, shown_high = (x if np.isfinite(x) else None for x in shown)
    return replace(
        row,
        verdict="holds" if inside else "does not hold",
        effect=effect,
        low=shown_low if np.isfinite(interval.low) else None,
        high=shown_high,
        unit="ratio" if ratio else row.unit,
        p_value=_p_value(claim, values, seed, low, high),
    )


def _level(claim: Claim) -> float:
    """Chance of error on each side: one-sided for equivalence and for signs, where two-sided needs 6 pairs."""
    error = 1 - claim.confidence
    return error if claim.within or claim.test == "sign" else error / 2


def _interval(claim: Claim, values: np.ndarray, seed: int) -> statistics.Interval:
    confidence = 1 - 2 * _level(claim)
    if claim.test == "bootstrap":
        return statistics.bootstrap_interval(values, confidence, seed)
    if claim.test == "paired_t":
        return statistics.t_interval(values, confidence)
    if claim.test == "sign":
        return statistics.sign_interval(values, confidence)
    return statistics.Interval(float(values.mean()), float(values.min()), float(values.max()))


def _p_value(claim: Claim, values: np.ndarray, seed: int, low: float, high: float) -> float | None:
    """One-sided, that the effect is no more than the smallest that counts; the worse of two for equivalence."""
    tests: dict[str, Callable[[np.ndarray, float], float]] = {
        "bootstrap": lambda v, null: statistics.bootstrap_p(v, null, seed),
        "paired_t": lambda v, null: statistics.paired_t(v, null, "greater").p_value,
        "sign": lambda v, null: statistics.sign_test(v, null, "greater").p_value,
    }
    if claim.test == "exact":
        return None
    test = tests[claim.test]
    return max(test(values, low), test(-values, -high) if claim.within else 0.0)


def _corrected(claim: Claim, rows: list[_Comparison]) -> list[_Comparison]:
    """p-values adjusted for their number, and a comparison that misses its level no longer holds."""
    judged = [row for row in rows if row.p_value is not None]
    adjusted = iter(statistics.holm([row.p_value for row in judged]))
    corrected = []
    for row in rows:
        if row.p_value is not None:
            p = float(next(adjusted))
            passes = row.verdict == "holds" and p <= _level(claim)
            row = replace(row, p_value=p, verdict="holds" if passes else "does not hold")
        corrected.append(row)
    return corrected


def _pairs(
    measure: Measure, left: Selector, rights: list[Side], metrics: pa.Table
) -> tuple[np.ndarray, str, str]:
    """One number per pair, better where higher, then the unit and a note about pairs that could not be made."""
    left_cells, unit = _cells(measure, left, metrics)
    right_cells = [_right_cells(measure, right, left, left_cells, metrics) for right in rights]
    keys = [key for key in left_cells if all(key in cells for cells in right_cells)]
    lost = sorted(
        {key[0] for key in left_cells}.symmetric_difference(key[0] for cells in right_cells for key in cells)
    )
    note = f"without a partner: {measure.pair_by} {', '.join(map(str, lost))}" if lost else ""
    if not keys:
        raise _NotRun(f"the two sides have no {measure.pair_by} in common; {note}")
    if measure.where:
        keys = _conditioned(measure, keys, left, rights, metrics)
    best = max if measure.direction == "higher" else min
    units: dict[Any, list[tuple[float, float]]] = {}
    for key in keys:
        units.setdefault(key[0], []).append((left_cells[key], best(cells[key] for cells in right_cells)))
    means = np.array([np.mean(units[u], axis=0) for u in sorted(units)])
    ours, theirs = means.T if measure.direction == "higher" else means.T[::-1]
    if measure.compare == "difference":
        return ours - theirs, unit, note
    if (means <= 0).any():
        raise _NotRun("a ratio needs values above 0, and some are not")
    return np.log(ours / theirs), unit, note


def _right_cells(
    measure: Measure, right: Side, left: Selector, left_cells: Cells, metrics: pa.Table
) -> Cells:
    if right.value is not None:
        return dict.fromkeys(left_cells, right.value)
    if measure.at_equal:
        return _interpolated(measure, right, left, left_cells, metrics)
    return _cells(measure, right, metrics)[0]


def _conditioned(
    measure: Measure, keys: list[tuple], left: Selector, rights: list[Side], metrics: pa.Table
) -> list[tuple]:
    assert measure.where is not None
    side = left if measure.where.side == "left" else rights[0]
    cells, _ = _cells(measure, side.model_copy(update={"metric": measure.where.metric}), metrics)
    kept = [key for key in keys if cells.get(key) == measure.where.equals]
    if not kept:
        raise _NotApplicable(
            f"{measure.where.metric} = {measure.where.equals:g} never occurs: nothing to compare"
        )
    return kept


def _interpolated(
    measure: Measure, right: Selector, left: Selector, left_cells: Cells, metrics: pa.Table
) -> Cells:
    """The right-hand curve of each pair, read where its `at_equal` metric equals the left-hand one.

    Linear in the logarithm of that metric: such curves (active features, bytes, operations) bend on a linear axis,
    and chords below a bent curve would favour the left-hand side. Nothing is extrapolated.
    """
    assert measure.at_equal is not None
    over = {"metric": measure.at_equal}
    at, _ = _cells(measure, left.model_copy(update=over), metrics)
    heights, _ = _cells(measure, right, metrics, curve=True)
    places, _ = _cells(measure, right.model_copy(update=over), metrics, curve=True)
    found, outside = {}, []
    for key in left_cells:
        curve = sorted((places[k], y) for k, y in heights.items() if k[:-1] == key and places.get(k, 0) > 0)
        if not curve or key not in at:
            continue
        x, y = np.array(curve).T
        if x[0] <= at[key] <= x[-1]:
            found[key] = float(np.interp(np.log(at[key]), np.log(x), y))
        else:
            outside.append(f"{at[key]:.3g} is outside {x[0]:.3g} to {x[-1]:.3g}")
    if not found:
        reason = outside[0] if outside else "the curve has no rows for these pairs"
        raise _NotRun(f"{_text(right.system)}: no value at equal {measure.at_equal} ({reason})")
    return found


def _cells(measure: Measure, side: Selector, metrics: pa.Table, curve: bool = False) -> tuple[Cells, str]:
    """(pair, pooled values ..., and the variant for a curve) -> value, and the unit."""
    columns = [measure.pair_by, *measure.pool, *(["variant"] if curve else [])]
    cells: Cells = {}
    unit = ""
    for row in _rows(side, metrics):
        key, unit = tuple(row[column] for column in columns), row["unit"]
        if cells.setdefault(key, row["value"]) != row["value"]:
            raise _NotRun(
                f"ambiguous: {_text(side.system)} {side.metric} has two values for {columns[0]} {key[0]}; "
                "select one row, or pool the columns in which they differ"
            )
    return cells, unit or ""


def _rows(side: Selector, metrics: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows a selector means; raises _NotRun naming the first key that leaves none."""
    told = []
    for name in ("system", "workload", "metric", "variant", "split"):
        wanted = getattr(side, name)
        if wanted is None:
            continue
        told.append(f"{name} {_text(wanted)}")
        metrics = metrics.filter(_matches(metrics[name], [wanted] if isinstance(wanted, str) else wanted))
        if not metrics.num_rows:
            raise _NotRun(f"no rows with {', '.join(told)}")
    metrics = metrics.filter(pc.is_finite(metrics["value"]).fill_null(False))
    if not metrics.num_rows:
        raise _NotRun(f"no finite value with {', '.join(told)}")
    metrics = _at_step(side, metrics)
    if not metrics.num_rows:
        step = "without a step" if side.step is None else f"of step {side.step}"
        raise _NotRun(f"no rows {step} with {', '.join(told)}")
    yield from metrics.to_pylist()


def _matches(column: pa.ChunkedArray, patterns: Iterable[str]) -> pa.ChunkedArray:
    names = [
        name
        for name in column.unique().to_pylist()
        if name is not None and any(fnmatchcase(name, pattern.replace("[", "[[]")) for pattern in patterns)
    ]
    return pc.is_in(column, pa.array(names, pa.string()))


def _at_step(side: Selector, metrics: pa.Table) -> pa.Table:
    steps = metrics["step"]
    if side.step is None:
        return metrics.filter(pc.is_null(steps))
    if side.step == "every":
        return metrics.filter(pc.is_valid(steps))
    if side.step == "last":
        keys = [name for name in METRICS_SCHEMA.names if name not in ("value", "unit", "step")]
        last = metrics.group_by(keys, use_threads=False).aggregate([("step", "max")])
        last = last.rename_columns([*keys, "step"]) if last.column_names[-1] == "step_max" else last
        return metrics.join(last, [*keys, "step"], join_type="left semi", use_threads=False)
    return metrics.filter(pc.equal(steps, side.step).fill_null(False))
