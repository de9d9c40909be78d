"""Circuits of a language model by several methods with the same prompts: how faithful, and for how much work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from winnow.evaluate import circuit_discovery as discovery
from winnow.evaluate import circuit_search as search
from winnow.evaluate.circuit_discovery import Task
from winnow.evaluate.contextual_decomposition import Node, heads_of, propagate
from winnow.models.hooked_transformer import HookedTransformer
from winnow.workloads.names_language import vocabulary

Rows = list[dict[str, Any]]
Scorer = Callable[[HookedTransformer, Task], Tensor]


def scorers(rounds: int, keep: int) -> dict[str, Scorer]:
    """Method -> function of a model and a task that gives scores float[layer, t, head]."""

    def iterated(method: str) -> Scorer:
        return lambda model, task: search.in_rounds(model, task, method, rounds, keep)[0]

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

    Measures are blocks run, correlation of scores with effects, area, share of faithfulness above 1, beats_random: the
    share of sizes and drawn orders at which circuits are more faithful, and above_random: area above their mean area.
    `random` has one of each drawn order; `outliers` and `pruned` have the nodes, the faithfulness and the blocks of
    circuits of no given size.

    settings: prompts, draws, random_orders, evaluated, references, frames, rounds, keep and sizes, as params.yaml has
    them. Nodes are scored on prompts of the valid split and measured on those of test; orders by chance, `random`, are
    drawn once for all draws of prompts. Sizes above the number of nodes are left out.
    """
    nodes, curves, seconds = [], [], []
    measures: dict[tuple[str, str], list[dict[str, float]]] = {}
    methods = scorers(settings.rounds, settings.keep)
    evaluated = dict(tasks(model, "test", settings.evaluated, settings, seed))
    effects = {name: discovery.activation_patching(model, task) for name, task in evaluated.items()}
    sizes = {name: [size for size in settings.sizes if size <= found.numel()] for name, found in effects.items()}
    faithfulness = {name: search.Faithfulness(model, task) for name, task in evaluated.items()}
    chance = {name: by_chance(of, sizes[name], settings.random_orders, seed) for name, of in faithfulness.items()}
    for name, values in chance.items():
        curves += [row for i, found in enumerate(values) for row in _curve(name, i, "random", sizes[name], found)]
        measures["random", name] = [_told(found) for found in values]
    done, total = 0, settings.draws * len(methods) * len(evaluated)
    for draw in range(settings.draws):
        for name, scored in tasks(model, "valid", settings.prompts, settings, seed * settings.draws + draw):
            made = {}
            for method, scorer in methods.items():
                task, labels = replace(scored, blocks=0), {"task": name, "draw": draw, "method": method}
                begun = time.process_time()
                scores = scorer(model, task)
                seconds.append(labels | {"seconds": time.process_time() - begun})
                made[method] = scores, task
                order, effect = search.ranked(scores), effects[name]
                for node in order:
                    told = {"score": float(scores[node]), "effect": float(effect[node])}
                    nodes.append(labels | node._asdict() | told)
                values = np.array(faithfulness[name](order, sizes[name]))
                curves += _curve(name, draw, method, sizes[name], values)
                found = {"blocks": float(task.blocks), "correlation": correlation(scores, effect)}
                found |= {"beats_random": float((values > chance[name]).mean())} | _told(values)
                by_chance_area = np.mean([area(drawn.tolist()) for drawn in chance[name]])
                found["above_random"] = found["area"] - float(by_chance_area)
                measures.setdefault((method, name), []).append(found)
                done += 1
                progress(done, total)
            for method, told in found_circuits(model, *made["cdt"], faithfulness[name], settings.rounds).items():
                curves += _curve(name, draw, method, [int(told["nodes"])], np.array([told["faithfulness"]]))
                measures.setdefault((method, name), []).append(told)
    return nodes, curves, seconds, measures


def found_circuits(
    model: HookedTransformer, scores: Tensor, scored: Task, faithfulness: search.Faithfulness, rounds: int
) -> dict[str, dict[str, float]]:
    """Circuits that say themselves how large they are: all outliers of several rounds, and what pruning leaves of them.

    Nodes are chosen on one task's prompts and measured on others'. scores: of one pass of decomposition on the
    first task, whose blocks it counts already.
    """
    chosen, found = search.outliers_in_rounds(model, scored, rounds, scores), {}
    for method in ("outliers", "pruned"):
        if method == "pruned":
            chosen = search.pruned(model, scored, chosen)
        (value,) = faithfulness(chosen, [len(chosen)])
        found[method] = {"nodes": float(len(chosen)), "faithfulness": value, "blocks": float(scored.blocks)}
    return found


def by_chance(faithfulness: search.Faithfulness, sizes: list[int], orders: int, seed: int) -> np.ndarray:
    """float64[orders, sizes]: faithfulness of the first nodes of drawn orders."""
    model, task = faithfulness.model, faithfulness.task
    drawn = [search.random_order(model, task, seed * orders + i) for i in range(orders)]
    return np.array([faithfulness(order, sizes) for order in drawn])


def _curve(task: str, draw: int, method: str, sizes: list[int], values: np.ndarray) -> Rows:
    labels = {"task": task, "draw": draw, "method": method}
    return [labels | {"size": size, "faithfulness": float(v)} for size, v in zip(sizes, values, strict=True)]


def _told(values: np.ndarray) -> dict[str, float]:
    return {"area": area(values.tolist()), "above_1": float((values > 1).mean())}


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


SHOWN, SENTENCES = 12, 50


def circuit(model: HookedTransformer, name: str, task: Task, seed: int) -> Rows:
    """The best nodes by decomposition and what they give to each other; a row a node (`to` is "") or an edge.

    Of the task's first sentences. Words are those of the task's first sentence.
    """
    task = replace(task, tokens=task.tokens[:SENTENCES], weights=task.weights[:SENTENCES])
    scores, words = discovery.decomposition(model, task), vocabulary()
    nodes = search.ranked(scores)[:SHOWN]
    ends = {node: f"{node.layer}.{node.head} at {node.position}" for node in nodes}
    rows = [{"from": ends[node], "to": "", "score": float(scores[node]), **node._asdict()} for node in nodes]
    for first, second, share in search.edges(model, task, nodes):
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
