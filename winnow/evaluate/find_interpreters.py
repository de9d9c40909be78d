"""Interpreters of FIND's functions: what each asks, and what it then says of the function.

S. Schwettmann et al., "FIND: A Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023,
Datasets and Benchmarks, let language models interpret; beside one, these are our own, which need none. An interpreter
is a class with `name`, `kinds` and `interpret`, and a line in `INTERPRETERS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from winnow.evaluate import find_regression as regression
from winnow.workloads import find_numeric
from winnow.workloads.find_functions import Function
from winnow.workloads.find_numeric import EDGE

OUTLYING = 6.0  # deltas from the fit beyond which an answer may belong to a corrupted stretch
CLOSE = 0.05  # between inputs, which ends are rounded to a tenth of
LEVEL_RANGE = 1.0  # most by which answers of such a stretch differ


class Interpretation(NamedTuple):
    """What is said of a function: words, code of a function `f`, where else it behaves otherwise, and how sure."""

    description: str
    code: str
    domain: tuple[float, float] | None
    confidence: float


class Interpreter(Protocol):
    """One way to interpret functions of some kinds."""

    @property
    def name(self) -> str: ...
    @property
    def kinds(self) -> tuple[str, ...]: ...
    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation: ...


class Answers(NamedTuple):
    """Distinct inputs [n], ascending, what they gave, and repeated answers to one of them."""

    x: np.ndarray
    y: np.ndarray
    repeated: np.ndarray

    @property
    def finite(self) -> tuple[np.ndarray, np.ndarray]:
        seen = np.isfinite(self.y)
        return self.x[seen], self.y[seen]


def _added(answers: Answers, function: Function, x: np.ndarray) -> Answers:
    every_x, every_y = np.append(answers.x, x), np.append(answers.y, function.query(x))
    order = np.argsort(every_x, kind="stable")
    return answers._replace(x=every_x[order], y=every_y[order])


def random_queries(function: Function, generator: np.random.Generator) -> Answers:
    """All of the budget at once on inputs drawn evenly, but two repeats."""
    x = np.sort(generator.uniform(-EDGE, EDGE, function.left - 2))
    y = function.query(x)
    at = int(np.argmax(np.isfinite(y)))
    return Answers(x, y, np.append(y[at], function.query(x[[at, at]])))


def adaptive_queries(function: Function, generator: np.random.Generator, kept: int) -> Answers:
    """Half of the budget on a jittered grid, the rest, but `kept`, where neighbours differ more than slopes explain."""
    count = function.left // 2
    width = 2 * EDGE / count
    x = -EDGE + width * (np.arange(count) + generator.uniform(0.2, 0.8, count))
    y = function.query(x)
    fixed = x[np.isfinite(y)][:1] if np.isfinite(y).any() else x[:1]
    again = function.query(fixed.repeat(3))
    answers = Answers(x, y, again)
    while (more := min(4, function.left - kept)) > 0:
        answers = _added(answers, function, _surprising(answers, more))
    return answers


def _surprising(answers: Answers, count: int) -> np.ndarray:
    """Midpoints of the gaps across which answers bend or jump most, or stop being numbers."""
    gaps, x = np.diff(answers.x), answers.x
    defined = np.isfinite(answers.y)
    y = np.where(defined, answers.y, 0)
    slopes = np.diff(y) / np.maximum(gaps, 1e-9)
    bends = np.abs(np.diff(slopes))
    surprise = np.maximum(np.append(bends, 0), np.append(0, bends)) * gaps**1.5
    surprise[defined[1:] != defined[:-1]] = np.inf
    surprise[gaps < 0.1] = -1
    chosen = np.argsort(-surprise, kind="stable")[:count]
    return x[chosen] + gaps[chosen] / 2


@dataclass(frozen=True)
class TemplateRegression:
    """Every family, and sums and products of the best, fitted to queries; corrupted stretches are sought on demand."""

    name: str = "template"
    adaptive: bool = True
    intervals: bool = False
    kinds: tuple[str, ...] = ("numeric",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """Ask, fit, and say the tree that BIC prefers."""
        kept = function.budget // 8 if self.intervals else 0
        answers = adaptive_queries(function, generator, kept) if self.adaptive else random_queries(function, generator)
        x, y = answers.finite
        if len(x) < 4:
            return said(["constant", float(np.mean(y)) if len(y) else 0.0], None, 0.0)
        delta = regression.noise_scale(y, answers.repeated)
        fits = regression.single_fits(x, y, delta)
        stretch = None
        if self.intervals:
            stretch, fits, outside = without_stretch(function, answers, fits, delta)
            x, y = x[outside], y[outside]
        if not regression.exact(fits[0], delta):
            fits = sorted([*fits, *regression.pair_fits(fits, x, y, delta)], key=lambda fit: fit.bic)
        met = float(np.mean(np.abs(fits[0].residuals) <= 4 * delta))
        return said(fits[0].tree, stretch, met)


def said(tree: find_numeric.Tree, stretch: dict[str, Any] | None, confidence: float) -> Interpretation:
    """A tree and a stretch as an interpretation."""
    words = find_numeric.describe(tree)
    domain = (stretch["low"], stretch["high"]) if stretch else None
    if stretch:
        words += f", but near {stretch['level']:g} from {stretch['low']:g} to {stretch['high']:g}"
    return Interpretation(words, find_numeric.source(tree, stretch), domain, confidence)


def without_stretch(
    function: Function, answers: Answers, fits: list[regression.Fit], delta: float
) -> tuple[dict[str, Any] | None, list[regression.Fit], np.ndarray]:
    """A stretch of nearly equal answers that the best fits miss, fits of the rest, and which answers these are bool[n].

    The ends of the stretch are found by bisection and rounded, so that they do not say which answers lie in it.
    """
    x, y = answers.finite
    for fit in fits[:3]:
        run = _longest_run(np.abs(fit.residuals) > OUTLYING * delta)
        if len(run) < 2 or len(x) - len(run) < 8 or np.ptp(y[run]) > LEVEL_RANGE:
            continue
        level = float(np.median(y[run]))
        sought = [place for place in ((run[0], run[0] - 1), (run[-1], run[-1] + 1)) if 0 <= place[1] < len(x)]
        ends = {-1: -EDGE - 1, len(x): EDGE + 1}
        for number, (inner, outer) in enumerate(sought):
            ends[outer] = _end(function, x[inner], x[outer], level, function.left // (len(sought) - number))
        outside = np.ones(len(x), bool)
        outside[run] = False
        again = regression.single_fits(x[outside], y[outside], delta)
        if again[0].cost < fits[0].cost:
            return (
                {
                    "low": round(float(ends[run[0] - 1]), 1),
                    "high": round(float(ends[run[-1] + 1]), 1),
                    "level": round(level, 1) + 0.0,
                },
                again,
                outside,
            )
    return None, fits, np.ones(len(x), bool)


def _end(function: Function, inner: float, outer: float, level: float, queries: int) -> float:
    """Where answers leave the level between two inputs, by bisection with so many queries at most."""
    for _ in range(queries):
        if abs(outer - inner) < CLOSE:
            break
        middle = (inner + outer) / 2
        answer = function.query([middle])[0]
        if abs(answer - level) <= LEVEL_RANGE / 2:
            inner = middle
        else:
            outer = middle
    return (inner + outer) / 2


def _longest_run(marked: np.ndarray) -> np.ndarray:
    """Positions of the longest run of True; the first of equal ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(int), [0]])))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return np.array([], int)
    longest = int(np.argmax(ends - starts))
    return np.arange(starts[longest], ends[longest])


@dataclass(frozen=True)
class Memoriser:
    """The answers themselves, joined by straight lines."""

    name: str = "memoriser"
    kinds: tuple[str, ...] = ("numeric",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """Code that looks up the two nearest of the answers."""
        width = 2 * EDGE / function.left
        x = -EDGE + width * (np.arange(function.left) + 0.5)
        y = function.query(x)
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]
        if len(x) < 2:
            return Interpretation("no answers", "def f(x):\n    return 0.0\n", None, 0.0)
        code = (
            f"def f(x):\n    xs, ys = {x.tolist()}, {y.tolist()}\n"
            "    i = 1\n    while i < len(xs) - 1 and xs[i] < x:\n        i += 1\n"
            "    return ys[i - 1] + (ys[i] - ys[i - 1]) * (x - xs[i - 1]) / (xs[i] - xs[i - 1])\n"
        )
        return Interpretation("what was answered, joined by lines", code, None, 0.0)


@dataclass(frozen=True)
class Constant:
    """The median answer."""

    name: str = "constant"
    kinds: tuple[str, ...] = ("numeric",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """One number for every input."""
        y = function.query(generator.uniform(-EDGE, EDGE, function.left))
        return said(["constant", float(np.nanmedian(y)) if np.isfinite(y).any() else 0.0], None, 0.0)


@dataclass(frozen=True)
class RandomFamily:
    """A function that is drawn as the library's are, without a query."""

    name: str = "random"
    kinds: tuple[str, ...] = ("numeric",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """A tree of one family, drawn."""
        return said(find_numeric.draw_tree(False, generator), None, 0.0)


INTERPRETERS: tuple[Interpreter, ...] = (
    TemplateRegression(),
    TemplateRegression("template_interval", intervals=True),
    TemplateRegression("template_random", adaptive=False),
    Memoriser(),
    Constant(),
    RandomFamily(),
)
