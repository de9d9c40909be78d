"""What single units of feed-forward layers tell: of properties, of contexts, and of who would be quiet."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from winnow.evaluate.context_detection import LENGTH, contexts_at, detection, readable
from winnow.evaluate.moe_x_study import Spliced
from winnow.evaluate.property_scores import best_features, coverage, reconstruction
from winnow.models.experts import Dense, MoEX
from winnow.models.transformer import Block, Transformer
from winnow.randomness import numpy_generator
from winnow.train.byte_language import drawn_starts, next_losses, windows_at
from winnow.workloads.byte_properties import GRAMMAR, PROPERTIES

BATCH = 16
EXPLAINED = 256
"""Units whose contexts are judged."""
SHOWN, SHOWN_LENGTH = 5, 24
"""Contexts that are kept of a property's best unit, and their bytes."""
Rows = list[dict[str, Any]]


class Seen(NamedTuple):
    """Units of the last layer, 0 where an expert rests; and of each layer of experts how its router did."""

    units: np.ndarray
    """float32[n * t, units]"""
    scores: list[Tensor]
    """float32[n * t, experts]: of the router."""
    active: list[Tensor]
    """float32[n * t, experts]: the share of an expert's units that would fire."""
    chosen: list[Tensor]
    """bool[n * t, experts]: whether an expert works on a token."""


class Judged(NamedTuple):
    """values: of the whole model. layers: correlation of scores with active shares, by layer. Rows of two tables."""

    values: dict[str, float | None]
    layers: list[float]
    features: Rows
    """Of each property: its best unit, how well it does, and where it is strongest."""
    experts: Rows
    """Of each layer and expert: the mean score, the mean share of its units that would fire, and its share of use."""


@torch.no_grad()
def seen(model: nn.Module, x: Tensor) -> Seen:
    """What shows in a model, or in one with a dictionary, on tokens int64[n, t]."""
    if isinstance(model, Spliced):
        return Seen(model.codes(x).numpy(), [], [], [])
    assert isinstance(model, Transformer)
    inputs: list[Tensor] = []
    hooks = [
        model.get_submodule(f"blocks.{i}.mlp").register_forward_hook(lambda _m, given, _o: inputs.append(given[0]))
        for i in range(len(model.blocks))
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    scores, active, chosen, found = [], [], [], torch.empty(0)
    for block, given in zip(model.blocks, inputs, strict=True):
        assert isinstance(block, Block)
        layer, flat = block.mlp, given.flatten(0, 1)
        if isinstance(layer, MoEX):
            each, gates = layer.as_wide_mlp(flat)
            scores.append(layer.scores(flat))
            active.append((each > 0).float().unflatten(1, (len(layer.encoder), -1)).mean(2))
            chosen.append((gates > 0).unflatten(1, (len(layer.encoder), -1))[:, :, 0])
            found = each * (gates > 0)
        else:
            assert isinstance(layer, Dense)
            found = layer.hidden(flat)
    return Seen(found.numpy(), scores, active, chosen)


def merit(scores: list[Tensor], active: list[Tensor]) -> float:
    """The correlation, over tokens and experts, of scores with active shares; NaN without experts."""
    if not scores:
        return float("nan")
    pair = [torch.cat([part.flatten() for part in parts]) for parts in (scores, active)]
    return float(torch.corrcoef(torch.stack(pair))[0, 1])


def judged(model: nn.Module, symbols: np.ndarray, marks: np.ndarray, params: Any) -> Judged:
    """Loss, units that fire, coverage, reconstruction, coverage of shifted labels, detection, the router's merit.

    Features are chosen on windows of the first half of the text and scored on the second's. Shifted labels are those of
    other windows, whole, so that they hang together as true ones do. dead_experts: those that no byte of the second
    half's windows asks for, of all layers.
    """
    half, length = len(symbols) // 2, params.context
    sets, looks, losses, contexts = [], [], [], []
    for part, first, last in (("chosen", 0, half), ("scored", half, len(symbols))):
        generator = numpy_generator(params.seed, "moe x", part)
        starts = first + drawn_starts(symbols[first:last], params.windows, length + 1, generator)
        x = windows_at(symbols, starts, length + 1)
        looks.append(seen(model, x[:, :-1]))
        places = (starts[:, None] + np.arange(length)).ravel()
        sets.append((looks[-1].units, marks[places]))
        contexts.append(contexts_at(symbols, places, SHOWN_LENGTH))
        with torch.no_grad():
            losses += [float(next_losses(model, some).mean()) for some in x.split(BATCH)]
    grammar = [(found, known[:, : len(GRAMMAR)]) for found, known in sets]
    tree = [(found, known[:, len(GRAMMAR) :]) for found, known in sets]
    shift = length * int(numpy_generator(params.seed, "moe x", "shifted").integers(1, params.windows))
    shifted = [(found, np.roll(known, shift, axis=0)) for found, known in grammar]
    (chosen, scored), layers = sets, len(looks[0].scores)
    values: dict[str, float | None] = {
        "cross_entropy": float(np.mean(losses)),
        "l0": float((scored[0] > 0).sum(1).mean()),
        "dead": float(1 - (chosen[0] > 0).any(0).mean()),
        "coverage": float(coverage(grammar[0], grammar[1]).mean()),
        "coverage_tree": float(coverage(tree[0], tree[1]).mean()),
        "coverage_shifted": float(coverage(shifted[0], shifted[1]).mean()),
        "reconstruction": float(reconstruction(grammar[0], grammar[1], params.precision).mean()),
        "detection": _detected(chosen[0], scored[0], contexts, params.seed),
        "router_correlation": float(np.mean([merit(look.scores, look.active) for look in looks])) if layers else None,
    }
    values["dead_experts"] = float(sum((~used.any(0)).sum() for used in looks[1].chosen)) if layers else None
    by_layer = [
        float(np.mean([merit(look.scores[i : i + 1], look.active[i : i + 1]) for look in looks])) for i in range(layers)
    ]
    return Judged(values, by_layer, _features(sets, contexts[0], params.hidden if layers else None), _experts(looks[1]))


def rows_of(name: str, found: Judged) -> list[tuple[str, str, dict[str, float | None]]]:
    """(system, variant, values) of an arm, and of each of its layers."""
    layers: list[tuple[str, str, dict[str, float | None]]] = [
        (name, f"trained, layer {layer}", {"router_correlation": value})
        for layer, value in enumerate(found.layers, start=1)
    ]
    return [(name, "trained", found.values), *layers]


def _detected(chosen: np.ndarray, scored: np.ndarray, contexts: list[np.ndarray], seed: int) -> float:
    alive = np.flatnonzero((chosen > 0).any(0))
    some = np.sort(numpy_generator(seed, "moe x", "explained").permutation(alive)[:EXPLAINED])
    short = [each[:, -LENGTH:] for each in contexts]
    return float(np.nanmean(detection(chosen[:, some], short[0], scored[:, some], short[1])))


def _features(sets: list[tuple[np.ndarray, np.ndarray]], contexts: np.ndarray, size: int | None) -> Rows:
    (chosen, _), (scored, _) = sets
    best = best_features(sets[0], sets[1])
    rows = []
    for name, unit, limit, f1, precision in zip(PROPERTIES, *best, strict=True):
        top = np.argsort(-chosen[:, unit], kind="stable")[:SHOWN]
        told: dict[str, Any] = {"property": name, "feature": int(unit), "expert": int(unit) // size if size else None}
        told |= {"f1": float(f1), "precision": float(precision), "rate": float((scored[:, unit] > limit).mean())}
        rows.append(told | {"contexts": [readable(contexts[place]) for place in top]})
    return rows


def _experts(look: Seen) -> Rows:
    rows: Rows = []
    for layer, (scores, active, chosen) in enumerate(zip(look.scores, look.active, look.chosen, strict=True), start=1):
        # f of the balancing loss: shares of all requests, which sum to 1.
        used = chosen.float().mean(0) / chosen[0].sum()
        columns = {"score": scores.mean(0), "active": active.mean(0), "used": used}
        rows += [
            {"layer": layer, "expert": expert} | {name: float(column[expert]) for name, column in columns.items()}
            for expert in range(len(used))
        ]
    return rows


def encoder_map(model: Transformer, each: int, seed: int) -> Rows:
    """A plane in which units of the last layer of experts lie near one another whose encoders point alike: t-SNE.

    each: units of an expert, drawn by seed. Rows (expert, unit, x, y). Van der Maaten and Hinton, JMLR 2008.
    """
    from sklearn.manifold import TSNE

    block = model.blocks[-1]
    assert isinstance(block, Block) and isinstance(block.mlp, MoEX)
    encoder = block.mlp.encoder.detach().mT.numpy()  # experts, hidden, width
    generator = numpy_generator(seed, "moe x", "map")
    some = [np.sort(generator.permutation(encoder.shape[1])[:each]) for _ in encoder]
    rows = np.concatenate([units[chosen] for units, chosen in zip(encoder, some, strict=True)]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    near = min(30.0, (len(rows) - 1) / 3)
    # The exact method adds up in one order, whatever the number of cores.
    plane = TSNE(method="exact", init="pca", perplexity=near, random_state=seed).fit_transform(rows)
    names = [(expert, int(unit)) for expert, chosen in enumerate(some) for unit in chosen]
    return [
        {"expert": expert, "unit": unit, "x": float(x), "y": float(y)}
        for (expert, unit), (x, y) in zip(names, plane, strict=True)
    ]
