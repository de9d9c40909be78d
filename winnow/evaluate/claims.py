"""The claims ledger: each claim of claims.yaml judged on metrics rows.

A claim makes one comparison, or several (its points, its right-hand sides). Each comparison pairs the rows
of two sides, usually by seed, and turns every pair into one number that is above 0 (difference) or 1 (ratio)
where the claim's side is better. The test then puts an interval around their mean:

    bootstrap  percentile bootstrap of the mean, exact up to 9 pairs
    paired_t   Student's interval of the mean
    sign       order statistics around the median; each bound one-sided, so that 5 pairs can suffice
    exact      the worst and the best pair, for what must be so in every pair

A comparison holds where its interval lies above the smallest effect that counts, or, for a claim of
equivalence, inside its bounds (with 90 % intervals for 95 % confidence: two one-sided tests). The claim then

    holds          where as many comparisons hold as it requires, all unless it says otherwise
    not run        where it does not, and rows or pairs are missing for some comparison
    partly         where some hold
    does not hold  where none does

A point at which the claim's condition never occurs is left out of the count. A claim that covers others is a control
of them: its verdict changes none of theirs, but where it does not hold, or holds partly, their notes say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa

from winnow import statistics
from winnow.errors import InputError
from winnow.evaluate.claim_pairs import Comparison, NotApplicable, NotRun, comparisons, pairs
from winnow.evaluate.claims_schema import SCALES, Claim, Measure
from winnow.pipeline.tables import METRICS_SCHEMA

VERDICTS = ("holds", "partly", "does not hold", "not run", "not checked: needs people")
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


@dataclass(frozen=True)
class _Row:
    """What the result says about one comparison, or about all of a claim's."""

    point: str | None
    left: str = ""
    right: str = ""
    verdict: str = "not run"
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    p_value: float | None = None
    note: str = ""


def evaluate_claims(claims: Sequence[Claim], metrics: pa.Table, seed: int = 0, scale: str | None = None) -> pa.Table:
    """Judge claims on metrics rows; the verdict rule stands at the head of this file.

    claims: from `load_claims`. metrics: rows of the metrics schema, of all stages. seed: of the bootstrap's
    resamples beyond 9 pairs. scale: of the run; a claim of a larger scale is not run.
    Returns rows of CLAIMS_SCHEMA: for each claim one overall row, whose `point` is null and whose figures are
    those of the comparison that decides (the weakest, or the n-th strongest where n are required); then, if
    it makes several, one row each. `effect`, `low` and `high` are differences in `unit`, or ratios; an
    infinite bound is null. `smallest` and `largest` are what they are held against. `p_value` is one-sided.
    The note of a row that is not run says what is missing.
    Raises InputError for a metrics table without the columns of the schema.
    """
    missing = [name for name in METRICS_SCHEMA.names if name not in metrics.column_names]
    if missing:
        raise InputError(f"metrics: no column {missing[0]!r}; give rows of the metrics schema")
    judged = {claim.id: _evaluate(claim, metrics, seed, scale) for claim in claims}
    for control in claims:
        for covered in judged.keys() & set(control.covers):
            overall = judged[covered][0]
            judged[covered][0] = replace(
                overall, note=_guarded(overall.note, control.id, judged[control.id][0].verdict)
            )
    rows = [_said(claim) | asdict(row) for claim in claims for row in judged[claim.id]]
    return pa.Table.from_pylist(rows, schema=CLAIMS_SCHEMA)


def _guarded(note: str, control: str, verdict: str) -> str:
    """The note of a claim's overall row, with what became of its control."""
    if verdict not in ("partly", "does not hold"):
        return note
    told = f"its control {control} {'holds partly' if verdict == 'partly' else verdict}"
    return f"{note}; {told}" if note else told


def _said(claim: Claim) -> dict[str, object]:
    """What each row of a claim repeats of its entry."""
    paper = claim.paper
    return {
        "claim": claim.id,
        "system": claim.system,
        "smallest": claim.within[0] if claim.within else claim.effect,
        "largest": claim.within[1] if claim.within else None,
        "test": None if claim.needs else claim.test,
        "statement": claim.statement,
        "paper": f"{paper.authors}: {paper.title}. {paper.venue}, {paper.year}",
    }


def _evaluate(claim: Claim, metrics: pa.Table, seed: int, scale: str | None) -> list[_Row]:
    """The overall row, then one row for each of several comparisons."""
    if claim.measure is None:
        return [_Row(None, verdict=f"not checked: needs {claim.needs}")]
    if scale is not None and SCALES.index(scale) < SCALES.index(claim.scale):
        return [_Row(None, note=f"judged from scale {claim.scale} on; this run is {scale}")]
    compared = [_compare(claim, claim.measure, each, metrics, seed) for each in comparisons(claim.measure)]
    rows = [row for row, _ in compared]
    if claim.correction == "holm":
        rows = _corrected(claim, rows)
    counted = [row for row, (_, applies) in zip(rows, compared, strict=True) if applies]
    return [_overall(claim, rows, counted), *(rows if len(rows) > 1 else [])]


def _overall(claim: Claim, rows: list[_Row], counted: list[_Row]) -> _Row:
    holding = sum(row.verdict == "holds" for row in counted)
    absent = [row for row in counted if row.verdict == "not run"]
    required = len(counted) if claim.require == "all" else claim.require
    told = f"{holding} of {len(counted)} comparisons hold" if len(rows) > 1 else rows[0].note
    if not counted or (holding < required and absent):
        missing = absent or rows
        others = len({row.note for row in missing}) - 1
        some = [told] if any(row.effect is not None for row in rows) else []
        more = [f"and {others} more"] if others else []
        n = min(row.n for row in missing)
        return _Row(None, rows[0].left, rows[0].right, n=n, note="; ".join([*some, missing[0].note, *more]))
    judged = [row for row in counted if row.effect is not None]
    strongest_first = sorted(judged, key=lambda row: -_margin(claim, row))
    deciding = strongest_first[min(required, len(judged)) - 1]
    verdict = "holds" if holding >= required else "partly" if holding else "does not hold"
    return replace(deciding, point=None, verdict=verdict, note=told)


def _margin(claim: Claim, row: _Row) -> float:
    """How far the interval lies inside what is claimed; below 0 outside."""
    smallest, largest = claim.bounds
    low = -np.inf if row.low is None else row.low
    high = np.inf if row.high is None else row.high
    return min(low - smallest, largest - high) if claim.within else low - smallest


def _compare(claim: Claim, measure: Measure, comparison: Comparison, metrics: pa.Table, seed: int) -> tuple[_Row, bool]:
    """The row of one comparison, and whether it applies."""
    row = _Row(comparison.point, comparison.left_label, comparison.right_label)
    try:
        values, unit, note = pairs(measure, comparison, metrics)
    except NotRun as reason:
        return replace(row, note=str(reason)), not isinstance(reason, NotApplicable)
    row = replace(row, n=len(values), unit=unit, note=note)
    if len(values) < claim.minimum_pairs:
        few = f"{len(values)} of the {claim.minimum_pairs} pairs needed"
        return replace(row, note=f"{few}; {note}" if note else few), True
    return _judged(claim, values, seed, row), True


def _judged(claim: Claim, values: np.ndarray, seed: int, row: _Row) -> _Row:
    """The row with its interval, p-value and verdict. values: float64[n], logarithms for a ratio."""
    smallest, largest = np.log(claim.bounds) if row.unit == "ratio" else claim.bounds
    interval = _interval(claim, values, seed)
    if claim.within:
        holds = smallest <= interval.low and interval.high <= largest
    else:
        holds = interval.low > smallest
    scale: Callable[[float], float] = np.exp if row.unit == "ratio" else float
    effect, low, high = (float(scale(x)) if np.isfinite(x) else None for x in interval)
    p = _p_value(claim, values, seed, smallest, largest)
    return replace(row, verdict=_verdict(holds), effect=effect, low=low, high=high, p_value=p)


def _verdict(holds: bool) -> str:
    return "holds" if holds else "does not hold"


def _level(claim: Claim) -> float:
    """Chance of error on each side: all of it for equivalence, and for signs, which else need 6 pairs."""
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


def _p_value(claim: Claim, values: np.ndarray, seed: int, smallest: float, largest: float) -> float | None:
    """That the effect is no larger than the smallest that counts; for equivalence the worse of two sides."""
    tests: dict[str, Callable[[np.ndarray, float], float]] = {
        "bootstrap": lambda v, null: statistics.bootstrap_p(v, null, seed),
        "paired_t": lambda v, null: statistics.paired_t(v, null, "greater").p_value,
        "sign": lambda v, null: statistics.sign_test(v, null, "greater").p_value,
    }
    if claim.test == "exact":
        return None
    test = tests[claim.test]
    return max(test(values, smallest), test(-values, -largest)) if claim.within else test(values, smallest)


def _corrected(claim: Claim, rows: list[_Row]) -> list[_Row]:
    """Rows with p-values adjusted for their number; one that misses its level no longer holds."""
    adjusted = iter(statistics.holm([row.p_value for row in rows if row.p_value is not None]))
    corrected = []
    for row in rows:
        if row.p_value is not None:
            p = float(next(adjusted))
            row = replace(row, p_value=p, verdict=_verdict(row.verdict == "holds" and p <= _level(claim) + 1e-12))
        corrected.append(row)
    return corrected
