"""Dictionaries of the heads that tell who got something: how well they stand in, can be edited, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.evaluate.supervised_dictionaries import (
    Features,
    Node,
    SupervisedDictionary,
    Told,
    edit_agnostic,
    edit_aware,
    f1_of_unions,
    interpret,
    logits_with,
    read,
    supervised,
)
from winnow.evaluate.supervised_task import FIRST_NAME, GIVER, SECOND_NAME, Task, joined
from winnow.models.hooked_transformer import HookedTransformer
from winnow.workloads.names_language import NAMES

SYSTEMS = ("supervised_mean", "supervised_mse", "supervised_joint")
GOOD = 0.8
"""F1 from which on a feature counts as telling a value."""
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""F1 from which on features are counted."""
VALUES = {"indirect": len(NAMES), "subject": len(NAMES), "order": 2}


class Scene(NamedTuple):
    """The model, its nodes, and what both splits hold in them: float32[n, nodes, d]."""

    model: HookedTransformer
    nodes: list[Node]
    fit: Task
    test: Task
    seen: Tensor
    held: Tensor
    changed: dict[str, Tensor]
    """Attribute that is edited here -> what the test prompts' counterfactuals hold."""
    clean: Tensor
    """int64[n]: the model's answer to the test prompts."""
    expected: dict[str, Tensor]
    """Attribute -> int64[n]: the answer that an edit is to bring about."""


def scene_of(model: HookedTransformer, fit: Task, test: Task, least_ceiling: float) -> Scene:
    """All heads' outputs at the last position, through which all that is told must pass.

    Who receives is edited here, the one attribute with which the answer moves; expected is the answer to the
    counterfactual prompt. Raises InputError where exchanging the whole of the nodes for the counterfactual's does not
    bring it about in at least the share `least_ceiling` of the prompts: then the nodes are no cut of the task.
    """
    heads = model.blocks[0].attn.heads  # type: ignore[union-attr]
    nodes = [Node(layer, "z", head, -1) for layer in range(len(model.blocks)) for head in range(heads)]  # type: ignore[arg-type]
    name = "indirect"
    with torch.no_grad():
        clean, expected = (model(part)[:, -1].argmax(-1) for part in (test.prompts.tokens, test.counterfactual[name]))
    values = read(model, test.counterfactual[name], nodes)
    seen, held = read(model, fit.prompts.tokens, nodes), read(model, test.prompts.tokens, nodes)
    scene = Scene(model, nodes, fit, test, seen, held, {name: values}, clean, {name: expected})
    if (reached := accuracy(scene, name, values)) < least_ceiling:
        raise InputError(f"nodes: of the prompts with another answer where another {name} is told, {reached:.2f} get "
                         f"it, not {least_ceiling:g}; they are no cut of the task: train the model longer")  # fmt: skip
    return scene


def queries_of(scene: Scene) -> Scene:
    """All heads' queries at the last position from the second layer on: whom to look for, the names being as they were.

    Who gives and the order are edited here. A prompt with another giver or order has the same answer, yet these queries
    among the old names lead elsewhere; expected is the answer with the whole of the counterfactual's queries.
    """
    model, test = scene.model, scene.test
    nodes = [node._replace(kind="q") for node in scene.nodes if node.layer]  # the first sees one and the same word
    seen, held = (read(model, task.prompts.tokens, nodes) for task in (scene.fit, test))
    changed = {name: read(model, test.counterfactual[name], nodes) for name in ("subject", "order")}
    expected = {
        name: logits_with(model, test.prompts.tokens, nodes, values)[:, -1].argmax(-1)
        for name, values in changed.items()
    }
    return scene._replace(nodes=nodes, seen=seen, held=held, changed=changed, expected=expected)


def moved(scene: Scene, name: str) -> Tensor:
    """bool[n]: the test prompts whose answer an edit of the attribute is to change."""
    return scene.expected[name] != scene.clean


def accuracy(scene: Scene, name: str, values: Tensor) -> float:
    """Share of the answers that are to move which do so as expected, with these values in the nodes.

    Prompts that keep their answer are left out, as an edit of nothing would do well on them; 0 where there are no
    others.
    """
    logits = logits_with(scene.model, scene.test.prompts.tokens, scene.nodes, values)
    own = moved(scene, name)
    right = (logits[:, -1].argmax(-1) == scene.expected[name])[own].double()
    return float(right.mean()) if len(right) else 0.0


def recovered(scene: Scene, values: Tensor) -> float:
    """Logit difference with these values in the nodes, from 0 for their means to 1 for their own."""
    prompts = scene.test.prompts

    def difference(held: Tensor) -> float:
        return float(prompts.difference(logits_with(scene.model, prompts.tokens, scene.nodes, held)).mean())

    clean, ablated = difference(scene.held), difference(scene.seen.mean(0).expand_as(scene.held))
    return (difference(values) - ablated) / (clean - ablated)


def explained(scene: Scene, values: Tensor) -> float:
    """Share of the variance of what the nodes hold, mean over nodes."""
    spread = (scene.held - scene.held.mean(0)).square().sum((0, 2))
    return float((1 - (scene.held - values).square().sum((0, 2)) / spread).mean())


def edit_limits(scene: Scene) -> dict[str, dict[str, dict[str, float]]]:
    """System -> variant -> metrics: edits of everything and of nothing, and the share of prompts that are to move."""
    whole, nothing = {}, {}
    for name, values in scene.changed.items():
        share = float(moved(scene, name).double().mean())
        whole[f"{name}-1"] = {"edit_accuracy": accuracy(scene, name, values), "moved": share}
        nothing[f"{name}-1"] = {"edit_accuracy": accuracy(scene, name, scene.held)}
    return {"ceiling": whole, "unedited": nothing}


def _supervised(scene: Scene, system: str, seen: Tensor) -> SupervisedDictionary:
    """The dictionary of rows float[n, d] of the fit prompts: of three attributes, or of names joined with the order."""
    attributes = scene.fit.attributes
    if system == "supervised_joint":
        return supervised(seen, joined(attributes), "mse", shared=attributes["order"])
    return supervised(seen, attributes, "mean" if system == "supervised_mean" else "mse")


def _form(system: str, attributes: dict[str, Tensor]) -> dict[str, Tensor]:
    return joined(attributes) if system == "supervised_joint" else attributes


def told_by_supervised(scene: Scene, system: str) -> dict[str, float]:
    """How well the codes of one of SYSTEMS stand in for the nodes."""
    dictionary, attributes = _supervised(scene, system, scene.seen.flatten(1)), _form(system, scene.test.attributes)
    shown = dictionary.reconstruct(attributes).float().view(scene.held.shape)
    without = scene.held.flatten(1) - sum(dictionary.parts(attributes).values())
    return {
        "recovered": recovered(scene, shown),
        "explained": explained(scene, shown),
        "necessity": 1 - recovered(scene, without.float().view(scene.held.shape)),
        "scores_explained": _scores_explained(scene, system),
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


def _scores_explained(scene: Scene, system: str) -> float:
    """Share of the variance of attention scores, last position to each name, that codes of queries and keys give.

    The median over heads and names: a head that looks nowhere in particular has scores of no variance to speak of.
    """
    queries = [node._replace(kind="q") for node in scene.nodes]
    places = (FIRST_NAME, SECOND_NAME, GIVER)
    keys = [node._replace(kind="k", position=position) for position in places for node in scene.nodes]
    both = [*queries, *keys]
    seen, held = (read(scene.model, task.prompts.tokens, both).double() for task in (scene.fit, scene.test))
    dictionary = _supervised(scene, system, seen.flatten(1))
    made = dictionary.reconstruct(_form(system, scene.test.attributes)).view(held.shape)
    n = len(queries)
    true, coded = ((x[:, :n].repeat(1, len(places), 1) * x[:, n:]).sum(2) for x in (held, made))
    return float((1 - (true - coded).square().sum(0) / (true - true.mean(0)).square().sum(0)).median())


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
    return {name: interpret(codes != 0, values, VALUES[name]) for name, values in task.attributes.items()}


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

    Of the node whose features tell most receivers on the fit prompts.
    """
    best = [float(told(f.encode(x), scene.fit)["indirect"].f1.max(0).values.mean())
            for f, x in zip(features, scene.seen.unbind(1), strict=True)]  # fmt: skip
    place = max(range(len(best)), key=best.__getitem__)
    node, active = scene.nodes[place], features[place].encode(scene.held[:, place]) != 0
    found = []
    for name, values in scene.test.attributes.items():
        f1, fires = interpret(active, values, VALUES[name]).f1, active.double().sum(0)
        count = torch.bincount(values, minlength=VALUES[name]).double()
        both = f1 * (fires[:, None] + count) / 2
        for feature, value in f1.nonzero().tolist():
            hits = float(both[feature, value])
            shares = {"precision": hits / float(fires[feature]), "recall": hits / float(count[value])}
            labels = {"node": f"{node.layer}.{node.head}", "feature": feature, "attribute": name, "value": value}
            found.append(labels | shares | {"f1": float(f1[feature, value])})
    return found
