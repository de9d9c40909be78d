"""From a claim's comparison to one number per pair: rows are selected, matched, averaged and subtracted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.evaluate.claims_schema import Measure, Point, Selector, Side
from winnow.pipeline.tables import METRICS_SCHEMA

Cells = dict[tuple[Any, ...], float]  # (pair, pooled values ..., and the variant along a curve) -> value


class NotRun(Exception):
    """A comparison cannot be made; the message says what is missing."""


class NotApplicable(NotRun):
    """The claim's condition never occurs at this point."""


class Comparison(NamedTuple):
    """The two sides of one comparison, with all that the measure and the point say filled in."""

    point: str
    left_label: str
    right_label: str
    left: Side
    rights: list[Side]  # several only where the best of them counts


class Pairs(NamedTuple):
    """One number per pair, above 0 where the left side is better, and logarithmic for a ratio."""

    values: np.ndarray  # float64[n]
    unit: str
    note: str


def comparisons(measure: Measure) -> list[Comparison]:
    """All comparisons of a measure, point by point."""
    found = []
    for name, point in (measure.points or {"": Point()}).items():
        left = _merged(measure, point, measure.left, point.left)
        rights = [_merged(measure, point, right, point.right) for right in measure.right]
        groups = [rights] if measure.against == "best" else [[right] for right in rights]
        for group in groups:
            label = ", ".join(_label(right, left) for right in group)
            said = [name] if name else []
            said += [f"over {label}"] if len(groups) > 1 else []
            best = f"best of {label}" if len(group) > 1 else label
            own = " ".join(_text(names) for names in (left.system, left.variant) if names)
            found.append(Comparison(" ".join(said), own, best, left, group))
    return found


def pairs(measure: Measure, comparison: Comparison, metrics: pa.Table) -> Pairs:
    """One number per pair; raises NotRun where rows, partners or positive values are missing.

    Raises NotApplicable, whatever else is missing, where the measure's condition is never met.
    """
    met = _met(measure, comparison, metrics)
    left, unit = _cells(measure, comparison.left, metrics)
    rights = [_right_cells(measure, right, comparison.left, left, metrics) for right in comparison.rights]
    keys = [key for key in left if all(key in cells for cells in rights)]
    lost = sorted({str(key[0]) for cells in (left, *rights) for key in cells if key not in set(keys)})
    note = f"without a partner: {measure.pair_by} {', '.join(lost)}" if lost else ""
    if not keys:
        raise NotRun(f"the two sides have no {measure.pair_by} in common; {note}")
    if met is not None:
        keys = [key for key in keys if key in met]
        if not keys:
            raise NotApplicable("where the claim's condition is met, nothing is to compare")
    best = max if measure.direction == "higher" else min
    grouped: dict[Any, list[tuple[float, float]]] = {}
    for key in keys:
        grouped.setdefault(key[0], []).append((left[key], best(cells[key] for cells in rights)))
    means = np.array([np.mean(grouped[pair], axis=0) for pair in sorted(grouped, key=str)])
    better, worse = means.T if measure.direction == "higher" else means.T[::-1]
    if measure.compare == "difference":
        return Pairs(better - worse, unit, note)
    if (means <= 0).any():
        raise NotRun("a ratio needs values above 0, and some are not")
    return Pairs(np.log(better / worse), "ratio", note)


def _merged(*parts: Selector) -> Side:
    """Later parts override earlier ones."""
    said: dict[str, Any] = {}
    for part in parts:
        said |= {key: getattr(part, key, None) for key in Side.model_fields if getattr(part, key, None) is not None}
    return Side(**said)


def _label(side: Side, left: Side) -> str:
    """What tells a side from the left-hand one."""
    if side.value is not None:
        return f"{side.value:g}"
    names = ["system", "workload", "variant", "split", "metric"]
    told = [name for name in names if getattr(side, name) != getattr(left, name)] or ["system"]
    return " ".join(_text(getattr(side, name)) for name in told)


def _text(value: str | list[str] | None) -> str:
    return " + ".join(value) if isinstance(value, list) else str(value)


def _right_cells(measure: Measure, right: Side, left: Side, left_cells: Cells, metrics: pa.Table) -> Cells:
    if right.value is not None:
        return dict.fromkeys(left_cells, right.value)
    if measure.at_equal:
        return _interpolated(measure.at_equal, measure, right, left, left_cells, metrics)
    return _cells(measure, right, metrics)[0]


def _met(measure: Measure, comparison: Comparison, metrics: pa.Table) -> set[tuple[Any, ...]] | None:
    """The pairs in which the measure's condition is met; None where it has none."""
    if measure.where is None:
        return None
    side = comparison.left if measure.where.side == "left" else comparison.rights[0]
    cells, _ = _cells(measure, side.model_copy(update={"metric": measure.where.metric}), metrics)
    met = {key for key, value in cells.items() if value == measure.where.equals}
    if not met:
        raise NotApplicable(f"{measure.where.metric} = {measure.where.equals:g} never occurs: nothing to compare")
    return met


def _interpolated(
    at_equal: str, measure: Measure, right: Side, left: Side, left_cells: Cells, metrics: pa.Table
) -> Cells:
    """The right-hand curve of each pair, read where its `at_equal` metric equals the left-hand one.

    Linear in the logarithm of that metric: such curves (active features, bytes, operations) bend on a linear
    axis, and chords below a bent curve would favour the left-hand side. Nothing is extrapolated.
    """
    at, _ = _cells(measure, left.model_copy(update={"metric": at_equal}), metrics)
    heights, _ = _cells(measure, right, metrics, curve=True)
    places, _ = _cells(measure, right.model_copy(update={"metric": at_equal}), metrics, curve=True)
    found, reason = {}, "the curve has no rows for these pairs"
    for key in left_cells.keys() & at.keys():
        curve = sorted((places[k], y) for k, y in heights.items() if k[:-1] == key and places.get(k, 0) > 0)
        if not curve:
            continue
        x, y = np.array(curve).T
        if x[0] <= at[key] <= x[-1]:
            found[key] = float(np.interp(np.log(at[key]), np.log(x), y))
        else:
            reason = f"{at[key]:.3g} is outside {x[0]:.3g} to {x[-1]:.3g}"
    if not found:
        raise NotRun(f"{_text(right.system)}: no value at equal {at_equal} ({reason})")
    return found


def _cells(measure: Measure, side: Side, metrics: pa.Table, curve: bool = False) -> tuple[Cells, str]:
    """The values a selector means, by pair and pooled columns, and their unit."""
    columns = [measure.pair_by, *measure.pool, *(["variant"] if curve else [])]
    cells: Cells = {}
    unit = ""
    for row in _rows(side, metrics):
        key, unit = tuple(row[column] for column in columns), row["unit"]
        if cells.setdefault(key, row["value"]) != row["value"]:
            raise NotRun(
                f"ambiguous: {_text(side.system)} {side.metric} has two values for {columns[0]} {key[0]}; "
                "select one row, or pool the columns in which they differ"
            )
    return cells, unit or ""


def _rows(side: Side, metrics: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows a selector means; raises NotRun naming the first key that leaves none."""
    told = []
    for name in ("system", "workload", "metric", "variant", "split"):
        wanted = getattr(side, name)
        if wanted is None:
            continue
        told.append(f"{name} {_text(wanted)}")
        metrics = metrics.filter(_matches(metrics[name], [wanted] if name == "metric" else wanted))
        if not metrics.num_rows:
            raise NotRun(f"no rows with {', '.join(told)}")
    metrics = _at_step(side, metrics)
    if not metrics.num_rows:
        step = "without a step" if side.step is None else f"of step {side.step}"
        raise NotRun(f"no rows {step} with {', '.join(told)}")
    metrics = metrics.filter(pc.fill_null(pc.is_finite(metrics["value"]), False))
    if not metrics.num_rows:
        raise NotRun(f"no finite value with {', '.join(told)}")
    yield from metrics.to_pylist()


def _matches(column: pa.ChunkedArray, patterns: Iterable[str]) -> pa.ChunkedArray:
    literal = [pattern.replace("[", "[[]").replace("?", "[?]") for pattern in patterns]  # only * is special
    names = [name for name in column.unique().to_pylist() if name is not None]
    wanted = [name for name in names if any(fnmatchcase(name, pattern) for pattern in literal)]
    return pc.is_in(column, pa.array(wanted, pa.string()))


def _at_step(side: Side, metrics: pa.Table) -> pa.Table:
    steps = metrics["step"]
    if side.step is None:
        return metrics.filter(pc.is_null(steps))
    if side.step == "every":
        return metrics.filter(pc.is_valid(steps))
    if side.step == "last":
        keys = [name for name in METRICS_SCHEMA.names if name not in ("value", "unit", "step")]
        last = metrics.group_by(keys, use_threads=False).aggregate([("step", "max")])
        last = last.rename_columns({"step_max": "step"})
        return metrics.join(last, [*keys, "step"], join_type="left semi", use_threads=False)
    return metrics.filter(pc.fill_null(pc.equal(steps, side.step), False))
