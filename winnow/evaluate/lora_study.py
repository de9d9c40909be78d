"""Fast gradients of adapters beside exact ones over entries and lengths, and how large entries of real heads are."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from winnow.evaluate.scaling import Clock, censored_line, measured
from winnow.models.transformer import Attention, Block, Transformer
from winnow.randomness import stream_seed, torch_generator
from winnow.train.byte_language import Report
from winnow.train.kronecker_attention import LARGEST_RANK, degrees_below
from winnow.train.lora_attention import clamped_gains, largest_score, with_bounded_attention
from winnow.train.lora_limits import (
    Adapter,
    Head,
    LoRALinear,
    largest_entries,
    lora_gradients_exact,
    lora_gradients_polynomial,
)
from winnow.workloads.texts import Texts

ALPHA = 2.0
FULL = ("query", "key", "value")
NORMS = ("query", "key", "frozen_query", "frozen_key", "product")
"""Columns of `largest_entries` that the theory bounds: the first two in the partial case, all in the full one."""
TOLERANCE = 1e-3
FAST_DEGREE = 2
SLACK = 0.02
"""Nats that fast gradients may lose, and that tuning has to gain for this to say anything."""
CHUNK = 64
"""Queries at a time of exact gradients: their scores with all keys of a long input fit in the cache."""


def drawn_head(length: int, size: int, rank: int, gamma: float, seed: int) -> tuple[Head, dict[str, Adapter]]:
    """A head in float64 whose queries and keys reach gamma exactly, adapters included, and its adapters."""
    generator = torch_generator(seed, "lora limits", str(length))

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs, target = draw(length, size).clamp(-2, 2) / 2, draw(length, size)
    weights = {name: draw(size, size) / size**0.5 for name in FULL}
    adapters = {name: (draw(size, rank) / size**0.5, draw(rank, size) / rank**0.5) for name in FULL}
    for name in ("query", "key"):
        b, a = adapters[name]
        top = (inputs @ (weights[name] + ALPHA / rank * b @ a)).abs().max()
        # The weight and its adapter shrink alike, so that their sum does.
        weights[name], adapters[name] = weights[name] * gamma / top, (b * gamma / top, a)
    return Head(inputs, **weights, target=target), adapters


def relative_error(found: Mapping[str, Adapter], exact: Mapping[str, Adapter]) -> float:
    """The largest distance of a gradient to the exact one, over that one's length."""
    pairs = [(x, y) for name in exact for x, y in zip(found[name], exact[name], strict=True)]
    return max(float((x - y).norm() / y.norm()) for x, y in pairs)


def errors(gammas: Sequence[float], degrees: Sequence[int], length: int, params: Any) -> Iterator[dict[str, Any]]:
    """Rows (case, gamma, degree, error, rank, negative) of the partial case, query and value, and of the full one."""
    for gamma in gammas:
        head, adapters = drawn_head(length, params.dimensions, params.rank, gamma, params.seed)
        for case, names in (("partial", ("query", "value")), ("full", FULL)):
            chosen = {name: adapters[name] for name in names}
            # What has no adapter to train keeps the one it has.
            rest = {name: ALPHA / params.rank * b @ a for name, (b, a) in adapters.items() if name not in names}
            fixed = head._replace(**{name: getattr(head, name) + gain for name, gain in rest.items()})
            exact = lora_gradients_exact(fixed, chosen, ALPHA, 1 / params.dimensions)
            for degree in degrees:
                found, told = lora_gradients_polynomial(fixed, chosen, ALPHA, degree, 1 / params.dimensions)
                error = relative_error(found, exact)
                row = {"case": case, "gamma": gamma, "degree": degree, "error": error}
                yield row | {"rank": told.rank, "negative": told.negative}


def rank_slope(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Slope and r^2 of the logarithm of the least rank within the tolerance against gamma squared, over all lengths.

    rows: of `phase_map`. Where no rank below the length serves, the length is a lower limit of the rank; NaN where
    fewer than three are known.
    """
    above = np.array([not row["error"] <= TOLERANCE for row in rows])
    ranks = np.array([row["tokens"] if limit else row["rank"] for row, limit in zip(rows, above, strict=True)])
    return censored_line(np.array([row["gamma"] ** 2 for row in rows]), np.log(ranks), above)


def work_and_time(params: Any, clock: Clock) -> Iterator[dict[str, Any]]:
    """Rows (tokens, method, work, largest, error, seconds): gradients of the full case at entries of 1, by length.

    work: multiply-adds and numbers written; largest: entries of the largest tensor. Above `longest_exact` tokens exact
    gradients are counted and not run: their error and time, and the error of the fast ones, are None.
    """
    for length in params.lengths:
        head, adapters = drawn_head(length, params.dimensions, params.rank, 1.0, params.seed)
        run, given = length <= params.longest_exact, (head, adapters, ALPHA)
        if not run:
            shapes = {name: (b.to("meta"), a.to("meta")) for name, (b, a) in adapters.items()}
            given = (Head(*(part.to("meta") for part in head)), shapes, ALPHA)
        scale = 1 / params.dimensions
        exact = measured(partial(lora_gradients_exact, *given, scale, CHUNK), clock if run else None)
        fast = measured(partial(lora_gradients_polynomial, head, adapters, ALPHA, FAST_DEGREE, scale), clock)
        errors = (0.0, relative_error(fast.result[0], exact.result)) if run else (None, None)
        for method, found, error in (("exact", exact, errors[0]), ("fast", fast, errors[1])):
            told = {"tokens": length, "method": method, "work": found.work, "largest": found.largest}
            yield told | {"error": error, "seconds": found.seconds}


def phase_map(params: Any, report: Report) -> list[dict[str, Any]]:
    """Rows (tokens, gamma, degree, rank, error, negative): the least degree within the tolerance, else the last one.

    Degrees whose rank is not below the length are not tried: with them nothing is saved. Scores have no scale here, as
    the theorem has none; the full case. `bound` is sqrt(log tokens).
    """
    rows: list[dict[str, Any]] = []
    cases = [(length, gamma) for length in params.map_lengths for gamma in params.map_gammas]
    for done, (length, gamma) in enumerate(cases):
        head, adapters = drawn_head(length, params.map_dimensions, params.rank, gamma, params.seed)
        exact = lora_gradients_exact(head, adapters, ALPHA, 1.0, CHUNK)
        row: dict[str, Any] = {"tokens": length, "gamma": gamma, "bound": math.sqrt(math.log(length))}
        for degree in degrees_below(min(length, LARGEST_RANK), params.map_dimensions):
            found, told = lora_gradients_polynomial(head, adapters, ALPHA, degree, 1.0)
            row |= {"degree": degree, "rank": told.rank, "error": relative_error(found, exact)}
            row["negative"] = told.negative
            if row["error"] <= TOLERANCE:
                break
        rows.append(row)
        report(done + 1, len(cases))
    return rows


def reached(rows: Sequence[Mapping[str, Any]], length: int) -> dict[str, float]:
    """largest_feasible: the largest entry up to which each was within the tolerance, at a length; 0 for none.

    rows: of `phase_map`, none of whose ranks reaches the length. Beside it the bound, and share_of_bound.
    """
    found, bound = 0.0, math.nan
    for row in sorted((row for row in rows if row["tokens"] == length), key=lambda row: row["gamma"]):
        bound = row["bound"]
        if not row["error"] <= TOLERANCE:
            break
        found = row["gamma"]
    return {"largest_feasible": found, "bound": bound, "share_of_bound": found / bound}


def bounded(model: Transformer, workload: Texts, params: Any) -> dict[str, dict[str, float]]:
    """Variant -> largest entry and score, heads below sqrt(log L) and loss of a model as it is, and bounded."""
    x, _ = next(iter(workload.batches("test", params.batch_size)))
    none = [[False] * block.attention.heads for block in model.blocks]  # type: ignore[operator,union-attr]
    variants: dict[str, tuple[Transformer, float | None]] = {
        "as it is": (model, None),
        f"gains up to {params.most_gain:g}": (clamped_gains(copy.deepcopy(model), params.most_gain), None),
        f"scores capped at {params.cap:g}": (
            with_bounded_attention(copy.deepcopy(model), none, cap=params.cap),
            params.cap,
        ),
    }
    found = {}
    for name, (changed, cap) in variants.items():
        values = entries_told(largest_entries(changed, x))
        values |= {"largest_score": largest_score(changed, x, cap)}
        found[name] = values | {"cross_entropy": workload.metrics(changed, "valid")["cross_entropy"]}
    return found


def entries_told(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """largest_entry of all heads and the share of heads_below_bound, and the same by all norms of the full case."""
    told: dict[str, float] = {}
    for names, ending in ((NORMS[:2], ""), (NORMS, "_full")):
        tops = [max(row[name] for name in names) for row in rows]
        below = sum(top <= rows[0]["bound"] for top in tops) / len(tops)
        told |= {f"largest_entry{ending}": max(tops), f"heads_below_bound{ending}": below}
    return told


def fast_heads(rows: Sequence[Mapping[str, float]]) -> list[list[bool]]:
    """Of each layer and head, whether its queries and keys lie below the bound. rows: of `largest_entries`."""
    layers: dict[float, list[bool]] = {}
    for row in rows:
        layers.setdefault(row["layer"], []).append(max(row["query"], row["key"]) <= row["bound"])
    return list(layers.values())


def finetuned(
    model: Transformer, workload: Texts, gain: float, params: Any, report: Report, degree: int | None = None
) -> tuple[Transformer, list[dict[str, Any]]]:
    """A copy whose queries and values have trained adapters, and its largest entries meanwhile.

    They learn from half of the documents of held-out packages. gain: alpha / r. degree: of the polynomial that
    gradients of heads have whose entries are below the bound; None for exact gradients. Rows are those of
    `largest_entries`, with the step.
    """
    tuned = copy.deepcopy(model).requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(params.seed, "lora limits", "adapters"))
        for block in tuned.blocks:
            assert isinstance(block, Block) and isinstance(block.attention, Attention)
            for name in ("query", "value"):
                linear: nn.Linear = getattr(block.attention, name)
                setattr(block.attention, name, LoRALinear(linear, params.adapter_rank, gain * params.adapter_rank))
    optimizer = torch.optim.AdamW(
        [p for p in tuned.parameters() if p.requires_grad], lr=params.learning_rate, fused=True
    )
    seen, _ = next(iter(workload.batches("test", params.batch_size)))
    learned, _ = workload.halves("held_out")
    batches = list(islice(workload.batches(learned, params.batch_size, params.seed), params.steps))
    rows = [{"step": 0, **row} for row in largest_entries(tuned, seen)]
    if degree is not None:
        with_bounded_attention(tuned, fast_heads(rows), degree)
    for step, batch in enumerate(islice(cycle(batches), params.steps), start=1):
        loss = workload.loss(tuned, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        report(step, params.steps)
        if step % max(params.steps // 5, 1) == 0:
            rows += [{"step": step, **row} for row in largest_entries(tuned, seen)]
    return tuned, rows


def tuning(
    model: Transformer, workload: Texts, params: Any, reporter: Callable[[str], Report]
) -> tuple[list[tuple[str, str, dict[str, float]]], list[dict[str, Any]]]:
    """Values (system, variant, values) of the model as it is and of tuned ones, by gain, and all entries of heads.

    Losses are of those documents of held-out packages that adapters do not learn from. The last gain is tuned with fast
    gradients too; there, `counts` is 1 where some head had them and where exact ones gained more than SLACK nats, so
    that a comparison of the two can fail.
    """
    unseen = workload.halves("held_out")[1]
    before = workload.metrics(model, unseen)["cross_entropy"]
    told: list[tuple[str, str, dict[str, float]]] = [("lora", "untuned", {"cross_entropy": before})]
    entries: list[dict[str, Any]] = []
    for gain, degree in [*((gain, None) for gain in params.gains), (params.gains[-1], params.fast_degree)]:
        system = "lora" if degree is None else "lora_fast"
        tuned, rows = finetuned(model, workload, gain, params, reporter(f"alpha / r {gain:g}, {system}"), degree)
        first, last = ([row for row in rows if row["step"] == step] for step in (0, rows[-1]["step"]))
        values = entries_told(last) | {"cross_entropy": workload.metrics(tuned, unseen)["cross_entropy"]}
        values["growth"] = values["largest_entry"] / entries_told(first)["largest_entry"]
        if degree is None:
            entries += [row | {"gain": gain, "seed": params.seed} for row in rows]
        else:
            fast = [head for layer in fast_heads(first) for head in layer]
            exact = told[-1][2]["cross_entropy"]
            values |= {"fast_heads": sum(fast), "infeasible_heads": len(fast) - sum(fast)}
            values["counts"] = float(any(fast) and exact < before - SLACK)
        told.append((system, f"gain {gain:g}", values))
    return told, entries
