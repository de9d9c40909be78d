"""What a task's nodes hold, and what the model answers with other values in them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.evaluate.supervised_dictionaries import Node, keys_values, logits_with, read
from winnow.evaluate.supervised_task import Task
from winnow.models.hooked_transformer import HookedTransformer, KeysValues


class Scene(NamedTuple):
    """The model, its nodes, all at the last position, and what both splits hold in them: float32[n, nodes, d]."""

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
    past: list[KeysValues]
    """Of the test prompts up to their last token, which values in the nodes leave as they are."""

    def logits(self, values: Tensor) -> Tensor:
        """float[n, 1, v]: those of the test prompts' last position with values float[n, nodes, d] in the nodes."""
        return logits_with(self.model, self.test.tokens[:, -1:], self.nodes, values, self.past)


def scene_of(model: HookedTransformer, fit: Task, test: Task, least_ceiling: float) -> Scene:
    """All heads' outputs at the last position, through which all that is told must pass.

    The indirect object is edited here, the one attribute with which the answer moves; expected is the answer to the
    counterfactual prompt. Raises InputError where exchanging the whole of the nodes for the counterfactual's does not
    bring it about in at least the share `least_ceiling` of the prompts: then the nodes are no cut of the task.
    """
    heads = model.blocks[0].attn.heads  # type: ignore[union-attr]
    nodes = [Node(layer, "z", head, -1) for layer in range(len(model.blocks)) for head in range(heads)]  # type: ignore[arg-type]
    name = "indirect"
    with torch.no_grad():
        asked = (test.tokens, test.counterfactual[name])
        clean, expected = (model.run(part, last=True)[0][:, -1].argmax(-1) for part in asked)
    values = read(model, test.counterfactual[name], nodes)
    seen, held = read(model, fit.tokens, nodes), read(model, test.tokens, nodes)
    past = keys_values(model, test.tokens[:, :-1])
    scene = Scene(model, nodes, fit, test, seen, held, {name: values}, clean, {name: expected}, past)
    if (reached := accuracy(scene, name, values)) < least_ceiling:
        raise InputError(f"nodes: of the prompts with another answer where another {name} is told, {reached:.2f} get "
                         f"it, not {least_ceiling:g}; they are no cut of the task: train the model longer")  # fmt: skip
    return scene


def queries_of(scene: Scene) -> Scene:
    """The nodes' heads' queries from the second layer on: what to look for, the names being as they were.

    Subject and order are edited here. A prompt with another subject or order has the same answer, yet these queries
    among the old names lead elsewhere; expected is the answer with the whole of the counterfactual's queries.
    """
    model, test = scene.model, scene.test
    nodes = [node._replace(kind="q") for node in scene.nodes if node.layer]  # the first sees one and the same word
    seen, held = (read(model, task.tokens, nodes) for task in (scene.fit, test))
    changed = {name: read(model, test.counterfactual[name], nodes) for name in ("subject", "order")}
    queries = scene._replace(nodes=nodes, seen=seen, held=held, changed=changed)
    return queries._replace(
        expected={name: queries.logits(values)[:, -1].argmax(-1) for name, values in changed.items()}
    )


def moved(scene: Scene, name: str) -> Tensor:
    """bool[n]: the test prompts whose answer an edit of the attribute is to change."""
    return scene.expected[name] != scene.clean


def accuracy(scene: Scene, name: str, values: Tensor) -> float:
    """Share of the answers that are to move which do so as expected, with these values in the nodes.

    Prompts that keep their answer are left out, as an edit of nothing would do well on them; 0 where there are no
    others.
    """
    right = (scene.logits(values)[:, -1].argmax(-1) == scene.expected[name])[moved(scene, name)].double()
    return float(right.mean()) if len(right) else 0.0


def recovered(scene: Scene, values: Tensor) -> float:
    """Logit difference with these values in the nodes, from 0 for their means to 1 for their own."""

    def difference(held: Tensor) -> float:
        return float(scene.test.difference(scene.logits(held)).mean())

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
