"""Numeric functions of FIND: real functions of known form, and what makes them harder to describe.

S. Schwettmann et al., "FIND: A Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023,
Datasets and Benchmarks. A tree is a list that JSON can hold: the name of a family, then its numbers, or "sum" or
"product" and two trees. `values` computes a tree over an array, `source` writes it as code for a single number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Tree = list[Any]
Reading = Callable[..., np.ndarray]
EDGE = 128.0
"""Functions are defined for x from -EDGE to EDGE."""
PARTS = ["constant", "linear", "polynomial", "step", "relu", "rectangle", "square_wave", "ceil", "floor"]
"""Families that sums and products are made of."""
ATOMS = [
    *(name for name in PARTS if name not in ("ceil", "floor")),
    *("absolute", "root", "logarithm", "tanh", "sin", "cos", "reciprocal", "gaussian", "rational"),
]
NOISES = {"uniform": 0.44, "normal": 0.34, "poisson": 0.22}
SIDES = {"inside": 0.49, "below": 0.26, "above": 0.25}
HIDDEN, SAMPLES = 64, 10_000  # units of an approximating network, and points that it is fitted to
SPREAD = 0.1  # standard deviation of corrupted values about their level


def _horner(coefficients: list[float], x: np.ndarray) -> np.ndarray:
    total = np.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total


def _network(x: np.ndarray, bias: float, slope: float, knots: list[float], weights: list[float]) -> np.ndarray:
    return bias + slope * x + np.maximum(0, x[..., None] - np.array(knots)) @ np.array(weights)


# Family -> (values over an array, code of one value). The two are written apart; tests hold one against the other.
FAMILIES: dict[str, tuple[Reading, str]] = {
    "constant": (lambda x, b: np.full_like(x, b), "{0}"),
    "linear": (lambda x, a, b: a * x + b, "{0} * x + {1}"),
    "polynomial": (lambda x, *c: _horner(list(c), x), ""),
    "absolute": (lambda x, a, c, b: a * np.abs(x - c) + b, "{0} * abs(x - {1}) + {2}"),
    "root": (
        lambda x, a, c, b: np.where(x >= c, a * np.sqrt(np.maximum(x - c, 0)) + b, np.nan),
        "({0} * math.sqrt(x - {1}) + {2} if x >= {1} else math.nan)",
    ),
    "logarithm": (
        lambda x, a, c, b: np.where(x > c, a * np.log(np.where(x > c, x - c, 1)) + b, np.nan),
        "({0} * math.log(x - {1}) + {2} if x > {1} else math.nan)",
    ),
    "step": (lambda x, a, c, b: a * (x > c) + b, "{0} * (x > {1}) + {2}"),
    "relu": (
        lambda x, a, leak, c, b: np.where(x > c, a, leak) * (x - c) + b,
        "({0} if x > {2} else {1}) * (x - {2}) + {3}",
    ),
    "tanh": (lambda x, a, s, c, b: a * np.tanh(s * (x - c)) + b, "{0} * math.tanh({1} * (x - {2})) + {3}"),
    "sin": (lambda x, a, s, p, b: a * np.sin(s * x + p) + b, "{0} * math.sin({1} * x + {2}) + {3}"),
    "cos": (lambda x, a, s, p, b: a * np.cos(s * x + p) + b, "{0} * math.cos({1} * x + {2}) + {3}"),
    "reciprocal": (
        lambda x, a, c, b: np.where(x == c, np.nan, a / np.where(x == c, 1, x - c) + b),
        "({0} / (x - {1}) + {2} if x != {1} else math.nan)",
    ),
    "gaussian": (
        lambda x, a, m, sd, b: a * np.exp(-0.5 * ((x - m) / sd) ** 2) + b,
        "{0} * math.exp(-((x - {1}) / {2}) ** 2 / 2) + {3}",
    ),
    "rational": (lambda x, top, low: _ratio(_horner(top, x), _horner(low, x)), ""),
    "rectangle": (lambda x, a, low, high, b: a * ((x > low) & (x < high)) + b, "{0} * ({1} < x < {2}) + {3}"),
    "square_wave": (
        lambda x, a, period, phase, b: np.where(np.mod(x - phase, period) < period / 2, a, -a) + b,
        "({0} if (x - {2}) % {1} < {1} / 2 else -{0}) + {3}",
    ),
    "ceil": (lambda x, a, b: a * np.ceil(x) + b, "{0} * math.ceil(x) + {1}"),
    "floor": (lambda x, a, b: a * np.floor(x) + b, "{0} * math.floor(x) + {1}"),
    "network": (_network, "{0} + {1} * x + sum(w * max(0.0, x - k) for k, w in zip({2}, {3}))"),
}


def _ratio(top: np.ndarray, low: np.ndarray) -> np.ndarray:
    return np.where(low == 0, np.nan, top / np.where(low == 0, 1, low))


def values(tree: Tree, x: np.ndarray) -> np.ndarray:
    """f(x) of a tree, float64 of the shape of x; NaN where it is not defined."""
    name, *rest = tree
    if name == "sum":
        return values(rest[0], x) + values(rest[1], x)
    if name == "product":
        return values(rest[0], x) * values(rest[1], x)
    return FAMILIES[name][0](np.asarray(x, dtype=float), *rest)


def expression(tree: Tree) -> str:
    """A tree as a Python expression of x, with `math`."""
    name, *rest = tree
    if name in ("sum", "product"):
        return f"({expression(rest[0])}) {'+' if name == 'sum' else '*'} ({expression(rest[1])})"
    if name == "polynomial":
        return _powers(rest)
    if name == "rational":
        top, low = (_powers(c) for c in rest)
        return f"(({top}) / ({low}) if ({low}) != 0 else math.nan)"
    return FAMILIES[name][1].format(*(number if isinstance(number, list) else f"({number!r})" for number in rest))


def _powers(coefficients: list[float]) -> str:
    """Horner's form, which rounds as `_horner` does."""
    text = f"({coefficients[-1]!r})"
    for coefficient in reversed(coefficients[:-1]):
        text = f"({text} * x + ({coefficient!r}))"
    return text


def source(tree: Tree, corruption: dict[str, Any] | None = None) -> str:
    """Code of a function `f` of one number; inside a corrupted stretch it is that stretch's level."""
    guard = ""
    if corruption:
        guard = f"    if {corruption['low']!r} < x < {corruption['high']!r}:\n        return {corruption['level']!r}\n"
    return f"def f(x):\n{guard}    return {expression(tree)}\n"


def describe(tree: Tree) -> str:
    """A tree in words that `winnow.evaluate.find_benchmark` can read again."""
    name, *rest = tree
    if name in ("sum", "product"):
        return f"the {name} of {describe(rest[0])} and {describe(rest[1])}"
    return f"a {name.replace('_', ' ')} function with {', '.join(f'{n:g}' for n in _flat(rest))}"


def _flat(numbers: list[Any]) -> list[float]:
    return [n for number in numbers for n in (_flat(number) if isinstance(number, list) else [number])]


def truth(spec: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """What a function is scored against: without noise, and at the level of its corrupted stretch."""
    found = values(spec["tree"], x)
    corruption = spec["corruption"]
    if corruption:
        found = np.where((x > corruption["low"]) & (x < corruption["high"]), corruption["level"], found)
    return found


def answers(spec: dict[str, Any], x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """What a query is told: the truth, with noise that is drawn afresh at each call."""
    found = truth(spec, x)
    if spec["noise"] == "uniform":
        found = found + generator.uniform(-1, 1, x.shape)
    elif spec["noise"] == "normal":
        found = found + generator.normal(0, 1, x.shape)
    elif spec["noise"] == "poisson":
        found = found + generator.poisson(1, x.shape)
    if spec["corruption"]:
        inside = (x > spec["corruption"]["low"]) & (x < spec["corruption"]["high"])
        found = found + inside * generator.normal(0, SPREAD, x.shape)
    return found


def draw_atom(name: str, generator: np.random.Generator) -> Tree:
    """A tree of one family, its numbers rounded to a tenth."""

    def within(low: float, high: float) -> float:
        return float(np.round(generator.uniform(low, high), 1)) + 0.0

    def away(edge: float) -> float:
        """Not 0, or the function would be a constant."""
        return float(np.round(generator.uniform(0.1, edge), 1)) * (1.0 if generator.random() < 0.5 else -1.0)

    if name == "constant":
        return [name, away(30)]
    if name in ("linear", "ceil", "floor"):
        return [name, away(10), within(-30, 30)]
    if name == "polynomial":
        return [name, *(within(-5, 5) for _ in range(generator.integers(2, 6))), away(5)]
    if name == "relu":
        return [name, away(10), within(-1, 1), within(-30, 30), within(-30, 30)]
    if name == "tanh":
        return [name, away(30), away(2), within(-30, 30), within(-30, 30)]
    if name in ("sin", "cos"):
        return [name, away(30), abs(away(3)), within(-3, 3), within(-30, 30)]
    if name == "gaussian":
        return [name, away(30), within(-50, 50), within(1, 10), within(-30, 30)]
    if name == "rational":
        order = int(generator.integers(0, 5))
        top = [within(-5, 5) for _ in range(order)] + [away(5)]
        return [name, top, [within(-5, 5) for _ in range(order + 1)] + [away(5)]]
    if name == "rectangle":
        low = within(-100, 60)
        return [name, away(30), low, round(low + within(5, 60), 1), within(-30, 30)]
    if name == "square_wave":
        return [name, away(30), within(5, 60), within(0, 60), within(-30, 30)]
    return [name, away(10), within(-30, 30), within(-30, 30)]


def draw_tree(composed: bool, generator: np.random.Generator) -> Tree:
    """One family, or the sum or product of two."""
    if not composed:
        return draw_atom(str(generator.choice(ATOMS)), generator)
    parts = [draw_atom(str(generator.choice(PARTS)), generator) for _ in range(2)]
    return [str(generator.choice(["sum", "product"])), *parts]


def corrupted(tree: Tree, generator: np.random.Generator) -> dict[str, Any]:
    """Ends and level of a stretch in which a function is replaced by about its mean."""
    side = str(generator.choice(list(SIDES), p=list(SIDES.values())))
    low, high = -EDGE - 1, EDGE + 1  # a stretch without an end reaches beyond the domain
    if side == "inside":
        low = float(np.round(generator.uniform(-EDGE + 8, EDGE - 33), 1))
        high = round(low + float(np.round(generator.uniform(5, 25), 1)), 1)
    elif side == "below":
        high = float(np.round(generator.uniform(-EDGE + 10, -EDGE / 2), 1))
    else:
        low = float(np.round(generator.uniform(EDGE / 2, EDGE - 10), 1))
    mean = np.nanmean(values(tree, half_integers()))
    return {"side": side, "low": low, "high": high, "level": float(np.round(mean, 1)) + 0.0}


def half_integers() -> np.ndarray:
    """The points of scoring: -127.5, -126.5, ..., 127.5."""
    return np.arange(-EDGE + 0.5, EDGE)


def approximated(tree: Tree) -> Tree:
    """A 1-64-1 network of rectified units in place of a tree, its outer weights fitted to 10,000 points in closed form.

    The inner weights are 1 and the units begin at even distances: with one input, fitting them too buys little.
    """
    x = np.linspace(-EDGE, EDGE, SAMPLES)
    y = values(tree, x)
    seen = np.isfinite(y)
    knots = np.linspace(-EDGE, EDGE, HIDDEN + 1)[:-1]
    # Hats on the knots span what units on them span, and their moments are those of neighbours alone.
    places = np.append(knots, EDGE)
    hats = np.maximum(0, 1 - np.abs(x[seen, None] - places) / (places[1] - places[0]))
    moments = np.einsum("ni,nj->ij", hats, hats) + 1e-9 * np.eye(len(places))
    heights = np.linalg.solve(moments, np.einsum("ni,n->i", hats, y[seen]))
    slopes = np.diff(heights) / (places[1] - places[0])
    bias, slope, *weights = (float(f"{n:.12g}") for n in (heights[0] + EDGE * slopes[0], slopes[0], *np.diff(slopes)))
    return ["network", bias, slope, [float(k) for k in knots[1:]], weights]


def spoiled(tree: Tree) -> bool:
    """Whether a tree is nowhere defined, or 0 throughout: nothing could be scored against it."""
    y = values(tree, half_integers())
    seen = y[np.isfinite(y)]
    return len(seen) < 64 or not np.any(seen)
