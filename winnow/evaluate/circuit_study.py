"""Circuits of a language model by several methods with the same prompts: how faithful, and for how much work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor

from winnow.evaluate import circuit_discovery as discovery
from winnow.evaluate.circuit_discovery import Task
from winnow.evaluate.contextual_decomposition import Node, heads_of, propagate
from winnow.models.hooked_transformer import HookedTransformer
from winnow.workloads.names_language import vocabulary

Rows = list[dict[str, Any]]
Scorer = Callable[[HookedTransformer, Task], Tensor]


def scorers(rounds: int, keep: int) -> dict[str, Scorer]:
    """Method -> function of a model and a task that gives scores float[layer, t, head]."""

    def iterated(method: str) -> Scorer:
        return lambda model, task: discovery.in_rounds(model, task, method, rounds, keep)[0]

    return {
        "cdt": discovery.decomposition,
        "cdt_split": lambda model, task: discovery.decomposition(model, task, pattern="split"),
        "cdt_clean_signs": lambda model, task: discovery.decomposition(model, task, clean_signs=True),
        "cdt_rounds": iterated("cdt"),
        "path": iterated("path"),
        "path_single": iterated("path_single"),
        "path_direct": discovery.path_patching,
        "activation": discovery.activation_patching,
        "attribution": discovery.attribution_patching,
    }


def tasks(model: HookedTransformer, split: str, count: int, settings: Any, seed: int) -> Iterator[tuple[str, Task]]:
    """Name -> task, of prompts of a split drawn with a seed."""
    for frame in settings.frames:
        yield f"names{frame}", discovery.names_task(model, split, count, settings.references, seed, frame)
    yield "years", discovery.years_task(model, split, count, settings.references, seed)


def area(values: list[float]) -> float:
    """Mean of faithfulness over sizes, each capped at 1: what exceeds it is no success."""
    return float(np.mean([min(1.0, value) for value in values]))


def study(
    model: HookedTransformer, settings: Any, seed: int, progress: Callable[[int, int], None] = lambda done, of: None
) -> tuple[Rows, Rows, Rows, dict[tuple[str, str], list[dict[str, float]]]]:
    """Rows of nodes and of faithfulness, CPU seconds of methods, and measures of each method and task, one a draw.

    settings: prompts, draws, evaluated, references, frames, rounds, keep and sizes, as params.yaml has them. Nodes are
    scored on prompts of the valid split and measured on those of test. Sizes above the number of nodes are left out.
    """
    nodes, curves, seconds = [], [], []
    measures: dict[tuple[str, str], list[dict[str, float]]] = {}
    methods: dict[str, Scorer | None] = {**scorers(settings.rounds, settings.keep), "random": None}
    evaluated = dict(tasks(model, "test", settings.evaluated, settings, seed))
    effects = {name: discovery.activation_patching(model, task) for name, task in evaluated.items()}
    done, total = 0, settings.draws * len(methods) * len(evaluated)
    for draw in range(settings.draws):
        for name, _ in tasks(model, "valid", settings.prompts, settings, seed * settings.draws + draw):
            whole, effect = evaluated[name], effects[name]
            sizes = [size for size in settings.sizes if size <= effect.numel()]
            for method, scorer in methods.items():
                task = dict(tasks(model, "valid", settings.prompts, settings, seed * settings.draws + draw))[name]
                labels = {"task": name, "draw": draw, "method": method}
                found: dict[str, float] = {}
                if scorer is None:
                    order = discovery.random_order(model, task, seed * settings.draws + draw)
                else:
                    begun = time.process_time()
                    scores = scorer(model, task)
                    seconds.append(labels | {"seconds": time.process_time() - begun})
                    order = discovery.ranked(scores)
                    found = {"blocks": float(task.blocks), "correlation": correlation(scores, effect)}
                    for node in order:
                        told = {"score": float(scores[node]), "effect": float(effect[node])}
                        nodes.append(labels | node._asdict() | told)
                values = discovery.faithfulness(model, whole, order, sizes)
                rows = zip(sizes, values, strict=True)
                curves += [labels | {"size": size, "faithfulness": value} for size, value in rows]
                above = float(np.mean([value > 1 for value in values]))
                measures.setdefault((method, name), []).append(found | {"area": area(values), "above_1": above})
                done += 1
                progress(done, total)
    return nodes, curves, seconds, measures


def correlation(scores: Tensor, effects: Tensor) -> float:
    """Pearson's, 0 where one of them is the same everywhere."""
    first, second = scores.double().flatten().numpy(), effects.double().flatten().numpy()
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def work_ratios(measures: dict[tuple[str, str], list[dict[str, float]]], task: str) -> dict[str, float]:
    """How often the blocks of decomposition each kind of path patching runs, one by one with the same rounds."""
    blocks = {method: measures[method, task][0]["blocks"] for method in ("cdt", "cdt_rounds", "path", "path_single")}
    return {
        "grouped_over_rounds": blocks["path"] / blocks["cdt_rounds"],
        "single_over_rounds": blocks["path_single"] / blocks["cdt_rounds"],
        "grouped_over_one_pass": blocks["path"] / blocks["cdt"],
        "single_over_one_pass": blocks["path_single"] / blocks["cdt"],
    }


SHOWN = 12


def circuit(model: HookedTransformer, name: str, task: Task, seed: int) -> Rows:
    """The best nodes by decomposition and what they give to each other; a row a node (`to` is "") or an edge.

    Words are those of the task's first sentence.
    """
    scores, words = discovery.decomposition(model, task), vocabulary()
    nodes = discovery.ranked(scores)[:SHOWN]
    ends = {node: f"{node.layer}.{node.head} at {node.position}" for node in nodes}
    rows = [{"from": ends[node], "to": "", "score": float(scores[node]), **node._asdict()} for node in nodes]
    for first, second, share in discovery.edges(model, task, nodes):
        rows.append({"from": ends[first], "to": ends[second], "score": share, **first._asdict()})
    sentence = [words[token] for token in task.tokens[0].tolist()]
    return [row | {"task": name, "seed": seed, "word": sentence[row["position"]]} for row in rows]


def sums_exactly(model: HookedTransformer, task: Task) -> float:
    """Largest share of the largest logit by which parts of each node's decomposition miss the logits."""
    layers, length, heads = len(model.blocks), task.tokens.shape[1], heads_of(model)
    logits, worst = model(task.tokens[:4]), 0.0
    for layer in range(layers):
        sources = [frozenset({Node(layer, p, h)}) for p in range(length) for h in range(heads)]
        parts = propagate(model, task.tokens[:4], sources, None, task.means).logits
        assert parts is not None
        worst = max(worst, float((parts.rel + parts.irrel - logits).abs().max() / logits.abs().max()))
    return worst
