"""Dictionaries of the heads that tell which name comes: how well they stand in, can be edited, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from winnow.evaluate.supervised_dictionaries import (
    Features,
    SupervisedDictionary,
    Told,
    edit_agnostic,
    edit_aware,
    f1_of_unions,
    interpret,
    read,
    supervised,
)
from winnow.evaluate.supervised_task import Task, joined
from winnow.evaluate.task_scene import Scene, accuracy, explained, recovered

SYSTEMS = ("supervised_mean", "supervised_mse", "supervised_joint", "supervised_names")
GOOD = 0.8
"""F1 from which on a feature counts as telling a value."""
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""F1 from which on features are counted."""


def _supervised(scene: Scene, system: str, seen: Tensor) -> SupervisedDictionary:
    """The dictionary of rows float[n, d] of the fit prompts: of three attributes, of names joined with the order, or
    with one code of a name whether it comes or is said again."""
    attributes = scene.fit.attributes
    if system == "supervised_joint":
        return supervised(seen, joined(attributes), "mse", shared=attributes["order"])
    if system == "supervised_names":
        return supervised(seen, attributes, "mse", tied=("indirect", "subject"))
    return supervised(seen, attributes, "mean" if system == "supervised_mean" else "mse")


def _form(system: str, attributes: dict[str, Tensor]) -> dict[str, Tensor]:
    return joined(attributes) if system == "supervised_joint" else attributes


def attending(scene: Scene) -> tuple[Tensor, Tensor]:
    """float64[n, vectors, d] of both splits: queries of the nodes' heads at the end, then their keys at each name."""
    queries = [node._replace(kind="q") for node in scene.nodes]
    places = [slot.position for slot in scene.fit.frame.slots]
    keys = [node._replace(kind="k", position=position) for position in places for node in scene.nodes]
    seen, held = (read(scene.model, task.tokens, [*queries, *keys]).double() for task in (scene.fit, scene.test))
    return seen, held


def _scores_explained(scene: Scene, system: str, parts: tuple[Tensor, Tensor]) -> float:
    """Share of the variance of attention scores, last position to each name, that codes of queries and keys give.

    parts: as `attending` reads them. The median over heads and names: a head that looks nowhere in particular has
    scores of no variance to speak of.
    """
    seen, held = parts
    dictionary = _supervised(scene, system, seen.flatten(1))
    made = dictionary.reconstruct(_form(system, scene.test.attributes)).view(held.shape)
    n, names = len(scene.nodes), len(scene.fit.frame.slots)
    true, coded = ((x[:, :n].repeat(1, names, 1) * x[:, n:]).sum(2) for x in (held, made))
    return float((1 - (true - coded).square().sum(0) / (true - true.mean(0)).square().sum(0)).median())


def told_by_supervised(scene: Scene, system: str, parts: tuple[Tensor, Tensor]) -> dict[str, float]:
    """How well the codes of one of SYSTEMS stand in for the nodes, and for what `attending` reads."""
    dictionary, attributes = _supervised(scene, system, scene.seen.flatten(1)), _form(system, scene.test.attributes)
    shown = dictionary.reconstruct(attributes).float().view(scene.held.shape)
    without = scene.held.flatten(1) - sum(dictionary.parts(attributes).values())
    return {
        "recovered": recovered(scene, shown),
        "explained": explained(scene, shown),
        "necessity": 1 - recovered(scene, without.float().view(scene.held.shape)),
        "scores_explained": _scores_explained(scene, system, parts),
    }


def edits_by_supervised(scene: Scene, system: str) -> dict[str, dict[str, float]]:
    """Metrics of the edits of each attribute, its codes exchanged for others."""
    dictionary, test = _supervised(scene, system, scene.seen.flatten(1)), scene.test
    before, found = _form(system, test.attributes), {}
    shown = sum(dictionary.parts(before).values()).view(scene.held.shape)  # type: ignore[union-attr]
    for name in scene.changed:
        after = _form(system, {**test.attributes, name: test.new[name]})
        values, taken = scene.held.flatten(1), torch.zeros_like(shown)
        for part, new in after.items():
            if not torch.equal(new, before[part]):
                values = dictionary.edit(values, before, part, new)
                taken = taken + dictionary.parts(before)[part].view(scene.held.shape)
        found[f"{name}-1"] = {
            "edit_accuracy": accuracy(scene, name, values.view(scene.held.shape)),
            "weight": float(((taken * shown).sum(2) / shown.square().sum(2).clamp(min=1e-30)).mean()),
        }
    return found


class _Clear(NamedTuple):
    """Of a node's features: F1 of the unions of values that they tell best on the fit prompts, there and on test."""

    fit: Tensor
    test: Tensor


def told_by_features(scene: Scene, features: Sequence[Features]) -> dict[str, dict[str, float]]:
    """How one unsupervised dictionary a node stands in for the nodes, and what its features say: variant -> metrics.

    What a feature tells is chosen on the fit prompts and judged on the test prompts.
    """
    held, means = scene.held.unbind(1), scene.seen.mean(0)
    codes = [f.encode(x) for f, x in zip(features, held, strict=True)]
    shown = torch.stack([f.reconstruct(x) for f, x in zip(features, held, strict=True)], 1)
    fitted = [f.encode(x) for f, x in zip(features, scene.seen.unbind(1), strict=True)]
    chosen = [told(c, scene.fit) for c in fitted]
    clear = [_clear(of, c, scene.test) for of, c in zip(chosen, codes, strict=True)]
    good = [of.fit >= GOOD for of in clear]
    kept = torch.stack([(c * k) @ f.decoder for c, k, f in zip(codes, good, features, strict=True)], 1)
    usual = torch.stack([((c * k) @ f.decoder).mean(0) for c, k, f in zip(fitted, good, features, strict=True)])
    values = {
        "recovered": recovered(scene, shown),
        "explained": explained(scene, shown),
        "necessity": 1 - recovered(scene, scene.held - shown + means),
        "recovered_clear": recovered(scene, kept + torch.stack([f.bias for f in features])),
        "necessity_clear": 1 - recovered(scene, scene.held - kept + usual),
        "l0": float(torch.stack([(c != 0).sum(1).double().mean() for c in codes]).mean()),
    }
    judged = [told(c, scene.test) for c in codes]
    for name in scene.test.attributes:
        values[f"values_told_{name}"] = values_told([of[name] for of in chosen], [of[name] for of in judged],
                                                    scene.test.attributes[name])  # fmt: skip
    found = {"all": values}
    for level in LEVELS:
        counts = torch.stack([(of.test >= level).double().sum() for of in clear])
        found[f"f1-{level:g}"] = {"clear_features": float(counts.mean())}
    return found


def told(codes: Tensor, task: Task) -> dict[str, Told]:
    """What features with these codes, float[n, m], tell of each attribute of the task's prompts."""
    return {name: interpret(codes != 0, values, task.sizes[name]) for name, values in task.attributes.items()}


def _clear(chosen: dict[str, Told], codes: Tensor, task: Task) -> _Clear:
    own = torch.stack([of.union for of in chosen.values()]).max(0)
    judged = [f1_of_unions(codes != 0, task.attributes[name], of.members) for name, of in chosen.items()]
    return _Clear(own.values, torch.stack(judged).gather(0, own.indices[None])[0])


def values_told(chosen: Sequence[Told], judged: Sequence[Told], present: Tensor) -> float:
    """Share of the values that are present whose best feature of any node, by `chosen`, is good in `judged`."""
    best = torch.cat([of.f1 for of in chosen]).argmax(0, keepdim=True)
    f1 = torch.cat([of.f1 for of in judged]).gather(0, best)[0]
    return float((f1[present.unique()] >= GOOD).double().mean())


def edits_by_features(scene: Scene, features: Sequence[Features], sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """Metrics of edits by attribute, size and way of choosing; what features tell is seen on the fit prompts."""
    held, found = scene.held.unbind(1), {}
    seen = [told(f.encode(x), scene.fit) for f, x in zip(features, scene.seen.unbind(1), strict=True)]
    for name in scene.changed:
        old, new, changed = scene.test.attributes[name], scene.test.new[name], scene.changed[name].unbind(1)
        scores = [of[name].f1 for of in seen]
        for size in sizes:
            free = [edit_agnostic(f, x, y, 2 * size) for f, x, y in zip(features, held, changed, strict=True)]
            aware = [
                edit_aware(f, x, y, s, old, new, size)
                for f, x, y, s in zip(features, held, changed, scores, strict=True)
            ]
            for way, edits in (("agnostic", free), ("aware", aware)):
                found[f"{name}-{size}-{way}"] = {
                    "edit_accuracy": accuracy(scene, name, torch.stack([e.values for e in edits], 1)),
                    "weight": float(torch.stack([e.weight for e in edits]).mean()),
                }
    return found


def feature_rows(scene: Scene, features: Sequence[Features]) -> list[dict[str, Any]]:
    """A row of each feature and value of each attribute: precision, recall and F1 on the test prompts, where not 0.

    Of the node whose features tell most indirect objects on the fit prompts.
    """
    best = [float(told(f.encode(x), scene.fit)["indirect"].f1.max(0).values.mean())
            for f, x in zip(features, scene.seen.unbind(1), strict=True)]  # fmt: skip
    place = max(range(len(best)), key=best.__getitem__)
    node, active = scene.nodes[place], features[place].encode(scene.held[:, place]) != 0
    found = []
    for name, values in scene.test.attributes.items():
        f1, fires = interpret(active, values, scene.test.sizes[name]).f1, active.double().sum(0)
        count = torch.bincount(values, minlength=scene.test.sizes[name]).double()
        both = f1 * (fires[:, None] + count) / 2
        for feature, value in f1.nonzero().tolist():
            hits = float(both[feature, value])
            shares = {"precision": hits / float(fires[feature]), "recall": hits / float(count[value])}
            labels = {"node": f"{node.layer}.{node.head}", "feature": feature, "attribute": name, "value": value}
            found.append(labels | shares | {"f1": float(f1[feature, value])})
    return found
