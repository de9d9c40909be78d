"""The families of functions that template regression knows: what of each is linear, and where to look for the rest.

Numbers that enter linearly are solved for in closed form (variable projection: G. Golub, V. Pereyra, SIAM Journal on
Numerical Analysis 1973); a family tells the columns that they multiply, a grid of the other numbers, and the tree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from winnow.workloads.find_numeric import EDGE, Tree

Grid = Callable[[np.ndarray, np.ndarray], np.ndarray]
Columns = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Family(NamedTuple):
    """Columns [c, n, p] of nonlinear numbers [c, d] over x [n], where to look for them, and the tree of a solution."""

    columns: Columns
    grid: Grid
    tree: Callable[[np.ndarray, np.ndarray], Tree]


def pairs_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[n * m, 2]: every number of the first with every one of the second."""
    return np.stack(np.meshgrid(first, second, indexing="ij"), -1).reshape(-1, 2)


def _stack(*columns: np.ndarray | float) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*columns), -1)


def _nothing(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.zeros((1, 0))


def _shifts(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linspace(-32, 32, 129)[:, None]


def _between(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Midpoints of neighbouring inputs, where a jump can be."""
    order = np.unique(x)
    return ((order[1:] + order[:-1]) / 2)[:, None]


def _jumps(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pairs of the midpoints at which neighbouring answers differ most."""
    order = np.argsort(x, kind="stable")
    steps = np.abs(np.diff(y[order]))
    middles = (x[order][1:] + x[order][:-1]) / 2
    chosen = np.sort(middles[np.argsort(-steps, kind="stable")[:16]])
    low, high = np.triu_indices(len(chosen), 1)
    return np.column_stack([chosen[low], chosen[high]])


def _power(order: int) -> Family:
    def columns(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        return ((x / EDGE)[:, None] ** np.arange(order + 1))[None]

    def tree(theta: np.ndarray, c: np.ndarray) -> Tree:
        numbers = [float(n) for n in c / EDGE ** np.arange(order + 1)]
        return {0: ["constant", *numbers], 1: ["linear", *numbers[::-1]]}.get(order, ["polynomial", *numbers])

    return Family(columns, _nothing, tree)


def _wave(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """theta: frequency and phase, both of which errors spread evenly over; a period's would grow with its square."""
    return np.where(np.mod(x * theta[:, :1] - theta[:, 1:], 1) < 0.5, 1.0, -1.0)


def _waves(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return pairs_of(np.arange(1 / 62, 1 / 4.9, 1 / (5 * EDGE)), np.arange(12) / 12)


def _period(theta: np.ndarray) -> float:
    return float(1 / max(theta[0], 1e-3))


def _sine(theta: np.ndarray, c: np.ndarray) -> Tree:
    return ["sin", float(np.hypot(c[0], c[1])), float(theta[0]), float(np.arctan2(c[1], c[0])), float(c[2])]


def _floats(*numbers: float) -> list[float]:
    return [float(number) for number in numbers]


FAMILIES: dict[str, Family] = {
    **{("constant", "linear")[k] if k < 2 else f"polynomial{k}": _power(k) for k in range(6)},
    "absolute": Family(
        lambda t, x: _stack(np.abs(x - t), 1.0), _shifts, lambda t, c: ["absolute", *_floats(c[0], t[0], c[1])]
    ),
    "root": Family(
        lambda t, x: _stack(np.where(x >= t, np.sqrt(np.maximum(x - t, 0)), np.nan), 1.0),
        _shifts,
        lambda t, c: ["root", *_floats(c[0], t[0], c[1])],
    ),
    "logarithm": Family(
        lambda t, x: _stack(np.where(x > t, np.log(np.maximum(x - t, 1e-9)), np.nan), 1.0),
        _shifts,
        lambda t, c: ["logarithm", *_floats(c[0], t[0], c[1])],
    ),
    "step": Family(
        lambda t, x: _stack((x > t) * 1.0, 1.0), _between, lambda t, c: ["step", *_floats(c[0], t[0], c[1])]
    ),
    "relu": Family(
        lambda t, x: _stack(np.maximum(x - t, 0), np.minimum(x - t, 0), 1.0),
        _shifts,
        lambda t, c: ["relu", *_floats(c[0], c[1], t[0], c[2])],
    ),
    "tanh": Family(
        lambda t, x: _stack(np.tanh(t[:, :1] * (x - t[:, 1:])), 1.0),
        lambda x, y: pairs_of(np.geomspace(0.05, 2, 8), np.linspace(-32, 32, 33)),
        lambda t, c: ["tanh", *_floats(c[0], t[0], t[1], c[1])],
    ),
    "sin": Family(
        lambda t, x: _stack(np.sin(t * x), np.cos(t * x), 1.0), lambda x, y: np.arange(0.05, 3.1, 0.01)[:, None], _sine
    ),
    "reciprocal": Family(
        lambda t, x: _stack(np.where(x == t, np.nan, 1 / np.where(x == t, 1, x - t)), 1.0),
        lambda x, y: np.linspace(-32, 32, 257)[:, None],
        lambda t, c: ["reciprocal", *_floats(c[0], t[0], c[1])],
    ),
    "gaussian": Family(
        lambda t, x: _stack(np.exp(-0.5 * ((x - t[:, :1]) / np.maximum(np.abs(t[:, 1:]), 0.1)) ** 2), 1.0),
        lambda x, y: pairs_of(np.linspace(-50, 50, 51), np.array([1.0, 2.0, 4.0, 7.0, 10.0])),
        lambda t, c: ["gaussian", *_floats(c[0], t[0], max(abs(t[1]), 0.1), c[1])],
    ),
    "rectangle": Family(
        lambda t, x: _stack(((x > t[:, :1]) & (x < t[:, 1:])) * 1.0, 1.0),
        _jumps,
        lambda t, c: ["rectangle", *_floats(c[0], t[0], t[1], c[1])],
    ),
    "square_wave": Family(
        lambda t, x: _stack(_wave(t, x), 1.0),
        _waves,
        lambda t, c: ["square_wave", *_floats(c[0], _period(t), t[1] * _period(t), c[1])],
    ),
    "ceil": Family(lambda t, x: _stack(np.ceil(x), 1.0)[None], _nothing, lambda t, c: ["ceil", *_floats(*c)]),
    "floor": Family(lambda t, x: _stack(np.floor(x), 1.0)[None], _nothing, lambda t, c: ["floor", *_floats(*c)]),
}
PARTS = ["linear", "polynomial2", "step", "relu", "rectangle", "square_wave", "floor"]
"""Second terms of sums and products; higher polynomials and ceilings are what these and a first term make."""
