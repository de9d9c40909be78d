"""How work and time grow with the size of a problem: counts, the least of three times, and the exponent of a power."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np
from scipy.optimize import least_squares

from winnow.evaluate.chart_parts import HEIGHT, WIDTH, Rows, key_of, lines, mean_bands, some, styled
from winnow.models.work import Work

REPEATS = 3
Clock = Callable[[], float]


class Measured(NamedTuple):
    """What a call gave, and what it took."""

    result: Any
    work: int
    """Multiply-adds of products, and numbers that all other operations write."""
    largest: int
    """Entries of the largest tensor."""
    seconds: float | None
    """The least of three times by the clock; None without one."""


def measured(run: Callable[[], Any], clock: Clock | None) -> Measured:
    """Run once to count its work, and three times more by the clock."""
    with Work() as work:
        result = run()
    times = []
    for _ in range(REPEATS if clock else 0):
        assert clock is not None
        start = clock()
        run()
        times.append(clock() - start)
    return Measured(result, work.total, work.largest, min(times, default=None))


def exponent(sizes: Sequence[float], values: Sequence[float | None]) -> float:
    """The power of the size with which values grow, by least squares on logarithms; NaN below two values."""
    points = [(size, value) for size, value in zip(sizes, values, strict=True) if value]
    if len(points) < 2:
        return float("nan")
    x, y = np.log(np.array(points, float)).T
    return float(np.polyfit(x, y, 1)[0])


def censored_line(x: np.ndarray, y: np.ndarray, above: np.ndarray) -> dict[str, float]:
    """Slope and r^2 of a line by least squares, where some values are known as lower limits alone.

    x, y: float[n]; above: bool[n], True where the value is y or more: there a line errs by what it lies below y, and
    not where it lies above. r^2: 1 less the squared errors over those of the best constant, 0 where that one has none.
    NaN below three values that are known.
    """
    if int((~above).sum()) < 3:
        return {"slope": float("nan"), "r2": float("nan")}

    def errors(line: np.ndarray) -> np.ndarray:
        missed: np.ndarray = y - np.polyval(line, x)
        return np.where(above, missed.clip(min=0), missed)

    line, constant = (least_squares(errors, np.polyfit(x, y, terms), xtol=1e-12, ftol=1e-12) for terms in (1, 0))
    total = float(constant.cost)
    return {"slope": float(line.x[0]), "r2": 1 - float(line.cost) / total if total > 1e-18 else 0.0}


def by_size(rows: Rows, title: str, kinds: str) -> alt.LayerChart:
    """Means of `value` against `tokens`, a line for each `kind`, both axes logarithmic."""
    bands = mean_bands(some(rows, title), ["kind", "tokens"], (1e-12, float("inf")))
    ticks = sorted({row["tokens"] for row in rows})
    x = alt.X(
        "tokens:Q",
        title="tokens (log scale)",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(values=ticks, format="d", labelAngle=-45),
    )
    y = alt.Y("mean:Q", title=f"{title} (log scale)", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e"))
    return styled(lines(bands, x, y, key_of("kind", kinds, bands)).properties(width=WIDTH, height=HEIGHT))
