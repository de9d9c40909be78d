"""EvoPress beside what it is compared with: depth, sparsity and bits chosen for one language model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from winnow.compress._second_order import sparse_obs
from winnow.compress.evopress import (
    Found,
    Propose,
    Space,
    Stage,
    State,
    evolve,
    lowered_at_random,
    mutated,
    random_state,
)
from winnow.compress.evopress_baselines import (
    additive_scores,
    block_influence,
    dp_allocate,
    lowest_scores,
    norm_ratios,
    owl_scores,
    owl_sparsities,
    residual_streams,
    window_of_blocks,
)
from winnow.compress.evopress_database import Database, calibrated, depth_database
from winnow.compress.evopress_fitness import Divergence, Judge, LogPerplexity
from winnow.errors import InputError
from winnow.models.transformer import Transformer
from winnow.randomness import numpy_generator
from winnow.workloads.texts import Texts

Report = Callable[[int, int], None]


class Budget(NamedTuple):
    """What a search spends: children a generation, stages, states and sequences at the start, generations."""

    offspring: int
    stages: tuple[Stage, ...]
    starts: int
    start_sequences: int
    generations: int


class Arm(NamedTuple):
    """The weights that an arm puts in the model's place, the state they are of, and how a search found it."""

    weights: Mapping[str, Tensor]
    state: State | None = None
    found: Found | None = None


def windows(workload: Texts, split: str, count: int, length: int) -> tuple[Tensor, Tensor]:
    """The first `length` tokens, and those that follow them, of `count` windows of a split, drawn by one fixed seed.

    Raises InputError for a split with fewer windows, or windows that are shorter.
    """
    x, y = next(iter(workload.batches(split, count, seed=0)))
    if len(x) < count or x.shape[1] < length:
        found = f"{len(x)} windows of {x.shape[1]} tokens"
        raise InputError(f"{split}: has {found} where {count} of {length} are asked for; ask for fewer or shorter ones")
    return x[:, :length], y[:, :length]


@torch.no_grad()
def window_losses(model: nn.Module, weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> np.ndarray:
    """Mean cross-entropy float64[n] of each window, in nats a token, with some weights of the model replaced."""
    logits = functional_call(model, dict(weights), (x,))
    losses = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    return losses.view(y.shape).double().mean(1).numpy()


def searched(
    database: Database, starts: list[State], fitness: Judge, budget: Budget, name: str, seed: int, report: Report,
    propose: Propose | None = None,
) -> Arm:  # fmt: skip
    """What EvoPress finds from the starts; with `propose`, what drawing at random finds for the same evaluations."""
    found = evolve(
        database.space,
        starts,
        fitness,
        len(fitness.windows),
        offspring=budget.offspring,
        stages=budget.stages,
        start_sequences=budget.start_sequences,
        generations=budget.generations,
        generator=numpy_generator(seed, "evopress", name),
        propose=propose,
        progress=report,
    )
    return Arm(database.parameters(found.state), found.state, found)


def budget_of(params: Any, kind: str) -> Budget:
    """What a search of a kind (depth, sparsity or bits) spends: its own schedule, or the common one."""
    own = vars(params.schedules).get(kind) or params
    stages = tuple(Stage(each.sequences, each.keep) for each in own.stages)
    return Budget(own.offspring, stages, params.starts, params.start_windows, own.generations)


def judge_of(params: Any, model: Transformer, database: Database, x: Tensor) -> Judge:
    """What a search goes by on windows int64[n, t], as `fitness` says."""
    if params.fitness == "perplexity":
        return LogPerplexity(model, database, x)
    return Divergence(model, database, x, params.largest if params.fitness == "sparse_divergence" else None)


def require_apart(calibration: Tensor, judged: Tensor) -> None:
    """Raise InputError where a window int64[n, t] that a search sees is also one on which it is judged."""
    both = (calibration[:, None] == judged).all(2).any(1)
    if both.any():
        told = f"{int(both.sum())} of {len(both)} windows are among those judged"
        raise InputError(f"calibration: {told}; calibrate on another split")


def all_arms(
    model: Transformer,
    x: Tensor,
    layers: Iterable[tuple[Database, float]],
    params: Any,
    seed: int,
    report: Callable[[str], Report],
) -> tuple[dict[str, dict[str, Arm]], dict[str, Arm]]:
    """Kind -> arm -> what it chose, and the searches among whole blocks.

    x: calibration windows int64[n, t]. layers: databases of linear layers, each with its mean level. Kinds are
    dense, depth-<percent>, sparsity and bits. report: name of a search -> what is called after each generation.
    """
    budget = budget_of(params, "depth")
    depth, blocks = depth_database(model), depth_database(model, whole_blocks=True)
    fitness = judge_of(params, model, depth, x)
    arms = {"dense": {"dense": Arm({})}}
    for share, dropped in _counts(params.dropped, len(model.blocks)).items():
        kind = f"depth-{100 * share:g}"
        arms[kind] = depth_arms(model, depth, fitness, dropped, budget, seed, report(kind))
    for database, level in layers:
        fitness = judge_of(params, model, database, x)
        own = budget_of(params, database.kind)
        arms[database.kind] = layer_arms(database, level, fitness, own, seed, report(database.kind))
    arms["sparsity"]["owl"] = Arm(owl_weights(model, x, params.sparsity))
    fitness = judge_of(params, model, blocks, x)
    return arms, block_search(blocks, fitness, params.blocks, budget, seed, report("blocks"))


def _counts(shares: Iterable[float], blocks: int) -> dict[float, int]:
    """How many of the layers of a kind each share drops; InputError where two drop as many."""
    counts: dict[float, int] = {}
    for share in shares:
        dropped = round(share * blocks)
        if dropped in counts.values():
            raise InputError(f"dropped: {share:g} of {blocks} layers are {dropped}, as another share's; leave one out")
        counts[share] = dropped
    return counts


def depth_arms(
    model: Transformer, database: Database, fitness: Judge, dropped: int, budget: Budget, seed: int, report: Report
) -> dict[str, Arm]:
    """Arms that drop so many attention and as many feed-forward layers; dp drops layers of as many weights in all.

    additive goes by the error of the model without that layer alone, shortgpt by how far it turns the residual stream,
    norm_ratio by how much it adds, window_cosine drops neighbouring blocks, drop_last the last ones.
    """
    space, blocks = database.space, len(model.blocks)
    chosen = (dropped, dropped)
    generator = numpy_generator(seed, "evopress", f"starts {dropped}")
    starts = [random_state(space, chosen, generator) for _ in range(budget.starts)]
    streams = residual_streams(model, fitness.windows)
    scores = additive_scores(space, fitness, len(fitness.windows))
    last = tuple(int(block >= blocks - dropped) for block in range(blocks))
    states = {
        "additive": lowest_scores(space, scores, chosen),
        "shortgpt": lowest_scores(space, block_influence(streams), chosen),
        "norm_ratio": lowest_scores(space, norm_ratios(streams), chosen),
        "window_cosine": window_of_blocks(streams, dropped),
        "dp": _dp_depth(model, scores, dropped),
        "drop_last": last + last,
    }
    name = f"depth {dropped}"
    arms = {arm: Arm(database.parameters(state), state) for arm, state in states.items()}
    return arms | {
        "evopress": searched(database, starts, fitness, budget, name, seed, report),
        "random": searched(
            database, starts, fitness, budget, name, seed, report, lambda parent, g: random_state(space, chosen, g)
        ),
    }


def _dp_depth(model: Transformer, scores: np.ndarray, dropped: int) -> State:
    """Of all states that keep no more weights, the one with the least sum of errors."""
    blocks = len(model.blocks)
    sizes = [
        sum(p.numel() for p in model.get_submodule(f"blocks.0.{part}").parameters()) for part in ("attention", "mlp")
    ]
    costs = [{0: size, 1: 0} for size in sizes for _ in range(blocks)]
    errors = [{0: 0.0, 1: float(score)} for score in scores]
    return dp_allocate(errors, costs, (blocks - dropped) * sum(sizes))


def block_search(
    database: Database, fitness: Judge, dropped: int, budget: Budget, seed: int, report: Report
) -> dict[str, Arm]:
    """What evolution and random search find where whole blocks are dropped, few enough to try all."""
    generator = numpy_generator(seed, "evopress", "starts of blocks")
    starts = [random_state(database.space, (dropped,), generator) for _ in range(budget.starts)]

    def drawn(parent: State, generator: np.random.Generator) -> State:
        return random_state(database.space, (dropped,), generator)

    return {
        "evopress": searched(database, starts, fitness, budget, "blocks", seed, report),
        "random": searched(database, starts, fitness, budget, "blocks", seed, report, drawn),
    }


def layer_arms(
    database: Database, level: float, fitness: Judge, budget: Budget, seed: int, report: Report
) -> dict[str, Arm]:
    """Arms that cost as much as every layer at one level: uniform, dp on the layers' own errors, two searches.

    Where the level is no whole number, uniform is the next above, lowered at random to what it costs; from there both
    searches start.
    """
    space = database.space
    uniform = uniform_state(space, level, numpy_generator(seed, "evopress", f"starts of {database.kind}"))
    costs = [
        {level: (level - (low if step > 0 else high)) * step for level in range(low, high + 1)}
        for low, high, step in zip(space.lowest, space.highest, space.steps, strict=True)
    ]
    budget_of_all = sum(price[level] for price, level in zip(costs, uniform, strict=True))
    states = {"uniform": uniform, "dp": dp_allocate(database.errors, costs, budget_of_all)}
    arms = {arm: Arm(database.parameters(state), state) for arm, state in states.items()}

    def shuffled(parent: State, generator: np.random.Generator) -> State:
        return _shuffled(space, uniform, generator)

    return arms | {
        "evopress": searched(database, [uniform], fitness, budget, database.kind, seed, report),
        "random": searched(database, [uniform], fitness, budget, database.kind, seed, report, shuffled),
    }


def uniform_state(space: Space, level: float, generator: np.random.Generator) -> State:
    """All units at one level; at a fraction of one, the next above lowered at random until it costs no more."""
    ceiling = (math.ceil(level),) * len(space.lowest)
    if level == ceiling[0]:
        return ceiling
    return lowered_at_random(space, ceiling, math.floor(level * sum(space.steps)), generator)


def _shuffled(space: Space, state: State, generator: np.random.Generator) -> State:
    """A state of equal cost, as many exchanges away as there are units."""
    for _ in space.lowest:
        state = mutated(space, state, generator)
    return state


@torch.no_grad()
def owl_weights(model: Transformer, x: Tensor, sparsity: float) -> dict[str, Tensor]:
    """The layers' weights pruned to the shares that their blocks' outliers on the windows x decide."""
    weights: dict[int, list[Tensor]] = {}
    moments: dict[int, list[Tensor]] = {}
    for name, weight, moment in calibrated(model, x, lambda name, weight, moment: weight):
        block = int(name.split(".")[1])
        weights.setdefault(block, []).append(weight)
        moments.setdefault(block, []).append(moment)
    shares = owl_sparsities([owl_scores(weights[block], moments[block]) for block in weights], sparsity)
    pruned: dict[str, Tensor] = {}

    def settle(name: str, weight: Tensor, moment: Tensor) -> Tensor:
        pruned[name] = sparse_obs(weight, moment, float(shares[int(name.split(".")[1])]))
        return pruned[name]

    for _ in calibrated(model, x, settle):
        pass
    return pruned


def histories(arms: Mapping[str, Mapping[str, Arm]]) -> list[dict[str, Any]]:
    """Rows of all searches: kind, arm, generation, divergence at its last stage, evaluations of windows until then.

    divergence: or what else the search goes by.
    """
    return [
        {"kind": kind, "arm": arm, "generation": generation + 1, "divergence": error, "evaluations": evaluations}
        for kind, those in arms.items()
        for arm, chosen in those.items()
        for generation, (error, evaluations, _) in enumerate(chosen.found.history if chosen.found else ())
    ]


def levels_of(arms: Mapping[str, Mapping[str, Arm]]) -> dict[str, dict[str, list[int]]]:
    """Kind -> arm -> level of each unit, for arms that have a state."""
    return {
        kind: {arm: list(chosen.state) for arm, chosen in those.items() if chosen.state}
        for kind, those in arms.items()
        if kind != "dense"
    }
