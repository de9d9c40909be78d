"""Triple-wise relations learned by attention over pairs and by ordinary attention; errors of the fast form."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn

from winnow.evaluate.scaling import Clock, censored_line, measured
from winnow.randomness import numpy_generator, torch_generator
from winnow.train.byte_language import Report
from winnow.train.kronecker_attention import (
    Basis,
    KroneckerAttention,
    degrees_below,
    kronecker_attention,
    kronecker_attention_polynomial,
    match_construction,
    match_task,
    polynomial,
    power_sums,
    quotient,
)

CHECKED = 2000  # sequences that accuracy is told of
EVALUATIONS = 8  # times in training
FAST_DEGREE = 4  # where work and time are measured, and bounds are looked for
BASES: tuple[Basis, ...] = get_args(Basis)
EXACT_CHUNK = 16
"""Queries at a time there, so that all pairs of 512 tokens fit in memory."""


class Arm(NamedTuple):
    """A network: pairs of keys or ordinary attention, blocks, hidden units, and times the common number of steps."""

    name: str
    pairs: bool
    layers: int
    hidden: int
    cost: int = 1


def arms(width: int) -> list[Arm]:
    """Networks of as many parameters, within 1 %; `longer` trains for as much CPU time as the one over pairs takes."""
    return [
        Arm("kronecker", True, 1, 2 * width),
        Arm("standard", False, 1, 3 * width),
        Arm("longer", False, 1, 3 * width, cost=2),
        Arm("two_layers", False, 2, width // 2),
    ]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, bias=False, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x, x, x, need_weights=False)[0]
        return found


class _Block(nn.Module):
    def __init__(self, arm: Arm, width: int, heads: int) -> None:
        super().__init__()
        self.attention = KroneckerAttention(width, heads) if arm.pairs else _Attention(width, heads)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(width, arm.hidden), nn.ReLU(), nn.Linear(arm.hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.mlp(self.norms[1](x))


class Matcher(nn.Module):
    """Numbers int64[n, t] -> logits float[n, t]; without positions, as the task has none."""

    def __init__(self, arm: Arm, modulus: int, width: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(modulus, width)
        self.blocks = nn.Sequential(*(_Block(arm, width, heads) for _ in range(arm.layers)))
        self.readout = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.blocks(self.embedding(x)))[..., 0]
        return logits


def matched(arm: Arm, order: int, params: Any, report: Report) -> tuple[dict[str, float], list[tuple[str, float, int]]]:
    """accuracy, that of the commoner answer, and parameters; and accuracy as training went on. Arms see equal data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_generator(params.seed, "kronecker", arm.name).initial_seed())
        model = Matcher(arm, params.modulus, params.width, params.heads)
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.learning_rate, fused=True)
    steps = params.steps * arm.cost
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, params.learning_rate, total_steps=steps)
    data = numpy_generator(params.seed, "kronecker", "data")
    judged, history = _judged_on(order, params), []
    for step in range(steps):
        x, labels = match_task(params.numbers, params.modulus, order, params.batch_size, data)
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        report(step + 1, steps)
        if (step + 1) % max(steps // EVALUATIONS, 1) == 0:
            history.append(("accuracy", _accuracy(model, *judged), step + 1))
    share = float(judged[1].mean())
    size = sum(p.numel() for p in model.parameters())
    values = {"accuracy": _accuracy(model, *judged), "majority": max(share, 1 - share), "parameters": float(size)}
    return values, history


def _judged_on(order: int, params: Any) -> tuple[Tensor, Tensor]:
    generator = numpy_generator(params.seed, "kronecker judged")
    return match_task(params.numbers, params.modulus, order, CHECKED, generator)


@torch.no_grad()
def _accuracy(model: Matcher, x: Tensor, labels: Tensor) -> float:
    return float(((model(x) > 0) == labels.bool()).double().mean())


def ceiling(params: Any) -> dict[str, float]:
    """accuracy on triples of one head with nothing learned, on the sequences that networks are judged by."""
    numbers, labels = _judged_on(3, params)
    return {"accuracy": float((match_construction(numbers, params.modulus) == labels.bool()).double().mean())}


def error_map(
    bounds: list[float], largest_rank: int, n: int, size: int, order: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows (order, tokens, basis, bound, degree, error, relative_error, negative, rank): largest errors of any output.

    Entries up to the bound, and each degree up to a rank. relative_error is over the largest output, which gets smaller
    with the order. Sums of powers of scores are taken once, at a bound of 1: a bound changes each by a factor.
    """
    generator = torch_generator(seed, "kronecker", "map", str(order))
    query, *rest = (2 * torch.rand(n, size, generator=generator, dtype=torch.float64) - 1 for _ in range(2 * order - 1))
    keys, values = rest[: order - 1], rest[order - 1 :]
    degrees = list(degrees_below(largest_rank + 1, size))
    sums = power_sums(query, keys, values, degrees[-1], 1 / size)
    top = float(math.prod(part.abs().max() for part in (query, *keys)))
    for bound in bounds:
        exact = kronecker_attention(bound * query, [bound * key for key in keys], values)
        grown = sums * (float(bound) ** (order * torch.arange(len(sums), dtype=torch.float64)))[:, None, None]
        for basis, degree in product(BASES, degrees):
            found, negative = quotient(grown[: degree + 1], polynomial(degree, bound**order * top, basis))
            error = float((found - exact).abs().max())
            yield {
                "order": order,
                "tokens": n,
                "basis": basis,
                "bound": bound,
                "degree": degree,
                "error": error,
                "relative_error": error / float(exact.abs().max()),
                "negative": negative,
                "rank": math.comb(size + degree, degree),
            }


def needed_degrees(rows: Sequence[Mapping[str, Any]], tolerance: float) -> dict[float, int]:
    """Bound -> the least degree from which on all relative errors are within the tolerance; bounds without one lack."""
    found: dict[float, int] = {}
    for bound in dict.fromkeys(row["bound"] for row in rows):
        mine = sorted((row["degree"], row["relative_error"]) for row in rows if row["bound"] == bound)
        late = [degree for degree, error in mine if not error <= tolerance]
        good = [degree for degree, _ in mine if not late or degree > max(late)]
        if good:
            found[bound] = good[0]
    return found


def growth(rows: Sequence[Mapping[str, Any]], tolerance: float) -> float:
    """Exponent with which the needed degree grows in bound^3, by least squares on logarithms, bounds from 1 on.

    Below 1, scores shrink with their power, and the degree says little. Where no degree serves, one more than the last
    is a lower limit. NaN below three bounds that some degree serves.
    """
    needed, beyond = needed_degrees(rows, tolerance), 1 + max(row["degree"] for row in rows)
    bounds = sorted({row["bound"] for row in rows if row["bound"] >= 1})
    degrees = np.array([max(needed.get(bound, beyond), 1) for bound in bounds], float)
    above = np.array([bound not in needed for bound in bounds], bool)
    return censored_line(3 * np.log(bounds), np.log(degrees), above)["slope"]


def threshold(rows: Sequence[Mapping[str, Any]], degree: int, tolerance: float) -> float | None:
    """The bound at which relative errors of a degree first cross the tolerance, by their logarithms between two bounds.

    None where they do not, or do so before the first bound.
    """
    mine = sorted((row["bound"], row["relative_error"]) for row in rows if row["degree"] == degree)
    for (low, before), (high, after) in pairwise(mine):
        if before <= tolerance < after:
            before = max(before, 1e-16)  # an error of 0 has no logarithm
            share = math.log(tolerance / before) / math.log(after / before)
            return float(low * (high / low) ** share)
    return None


def work_and_time(params: Any, clock: Clock) -> Iterator[dict[str, Any]]:
    """Rows (tokens, method, work, largest, error, seconds) of order 3 at entries of 1, by length.

    work: multiply-adds and numbers written; largest: entries of the largest tensor. Exact attention is run up to
    `longest_exact` tokens; beyond, it has no row, and the fast form no error.
    """
    for tokens in params.scaled:
        generator = torch_generator(params.seed, "kronecker", "scaling", str(tokens))
        query, *rest = (
            2 * torch.rand(tokens, params.dimensions, generator=generator, dtype=torch.float64) - 1 for _ in range(5)
        )
        keys, values, exact = rest[:2], rest[2:], None
        if tokens <= params.longest_exact:
            exact = measured(partial(kronecker_attention, query, keys, values, chunk=EXACT_CHUNK), clock)
            told = {"tokens": tokens, "method": "exact", "work": exact.work, "largest": exact.largest}
            yield told | {"error": 0.0, "seconds": exact.seconds}
        fast = measured(partial(kronecker_attention_polynomial, query, keys, values, FAST_DEGREE), clock)
        error = None if exact is None else float((fast.result[0] - exact.result).abs().max())
        told = {"tokens": tokens, "method": "fast", "work": fast.work, "largest": fast.largest}
        yield told | {"error": error, "seconds": fast.seconds}
