"""Dictionaries of the heads that tell who got something: how well they stand in, can be edited, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.sae import SaeConfig
from winnow.errors import InputError
from winnow.evaluate.dictionary_toys import nearest_in_l0
from winnow.evaluate.supervised_dictionaries import (
    Features,
    Node,
    SupervisedDictionary,
    edit_agnostic,
    edit_aware,
    interpret,
    logits_with,
    read,
    supervised,
)
from winnow.models.hooked_transformer import HookedTransformer
from winnow.randomness import torch_generator
from winnow.workloads.names_language import NAMES, PAD, IndirectObjects, indirect_objects, tokens_of

FIRST_NAME, SECOND_NAME, GIVER = 2, 4, 10
"""Positions of the names in a sentence of frame 0."""
ARCHITECTURES = ("topk", "batchtopk", "relu_l1", "gated")
GOOD = 0.8
"""F1 from which on a feature counts as telling a value."""
GENERAL_ROWS = 20_000


class Task(NamedTuple):
    """Prompts, what they are about, and for each attribute another value and the prompts that have it."""

    prompts: IndirectObjects
    attributes: dict[str, Tensor]
    new: dict[str, Tensor]
    counterfactual: dict[str, Tensor]


def task_of(split: str, count: int, seed: int) -> Task:
    """Prompts of frame 0 with the indirect object, the subject and the order of their names as attributes.

    A counterfactual has one other indirect object or subject, which is neither of the two, or the other order.
    """
    prompts = indirect_objects(split, count, seed, frame=0)
    first = int(tokens_of(NAMES[:1])[0])
    order = (prompts.tokens[:, FIRST_NAME] == prompts.subject).long()
    attributes = {"indirect": prompts.indirect - first, "subject": prompts.subject - first, "order": order}
    draws = torch.rand(count, len(NAMES), generator=torch_generator(seed, "counterfactual names", split))
    own = torch.stack([attributes["indirect"], attributes["subject"]], 1)
    other = draws.scatter(1, own, -1.0).argmax(1)
    new = {"indirect": other, "subject": other, "order": 1 - order}
    tokens = prompts.tokens
    exchanged = tokens.clone()
    exchanged[:, [FIRST_NAME, SECOND_NAME]] = tokens[:, [SECOND_NAME, FIRST_NAME]]
    counterfactual = {
        "indirect": torch.where(tokens == prompts.indirect[:, None], other[:, None] + first, tokens),
        "subject": torch.where(tokens == prompts.subject[:, None], other[:, None] + first, tokens),
        "order": exchanged,
    }
    return Task(prompts, attributes, new, counterfactual)


class Scene(NamedTuple):
    """The model, its nodes, and what both splits hold in them: float32[n, nodes, d]."""

    model: HookedTransformer
    nodes: list[Node]
    fit: Task
    test: Task
    seen: Tensor
    held: Tensor
    changed: dict[str, Tensor]
    """Attribute -> what the test prompts' counterfactuals hold."""
    expected: dict[str, Tensor]
    """Attribute -> int64[n]: the model's answer to the counterfactual prompt."""


def scene_of(model: HookedTransformer, fit: Task, test: Task, least_ceiling: float) -> Scene:
    """All heads' outputs at the last position, and what to expect of edits.

    Raises InputError where exchanging the whole of them for the counterfactual's does not change the answer as the
    prompt would in at least the share `least_ceiling`: then the nodes are no cut of the task.
    """
    heads = model.blocks[0].attn.heads  # type: ignore[union-attr]
    nodes = [Node(layer, "z", head, -1) for layer in range(len(model.blocks)) for head in range(heads)]  # type: ignore[arg-type]
    changed = {name: read(model, tokens, nodes) for name, tokens in test.counterfactual.items()}
    with torch.no_grad():
        expected = {name: model(tokens)[:, -1].argmax(-1) for name, tokens in test.counterfactual.items()}
    seen, held = read(model, fit.prompts.tokens, nodes), read(model, test.prompts.tokens, nodes)
    scene = Scene(model, nodes, fit, test, seen, held, changed, expected)
    for name, values in changed.items():
        if (reached := accuracy(scene, name, values)) < least_ceiling:
            raise InputError(f"nodes: the counterfactual {name} is answered in {reached:.2f} of the prompts, not in "
                             f"{least_ceiling:g}; they are no cut of the task: train the model longer")  # fmt: skip
    return scene


def accuracy(scene: Scene, name: str, values: Tensor) -> float:
    """Share of the test prompts that are answered as their counterfactuals are, with these values in the nodes."""
    logits = logits_with(scene.model, scene.test.prompts.tokens, scene.nodes, values)
    return float((logits[:, -1].argmax(-1) == scene.expected[name]).double().mean())


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


def told_by_supervised(scene: Scene, kind: Any) -> dict[str, dict[str, float]]:
    """Metrics of a supervised dictionary: of all, and of the edits of each attribute, one code out and one in."""
    n, nodes, d = scene.held.shape
    dictionary = supervised(scene.seen.flatten(1), scene.fit.attributes, kind)
    attributes = scene.test.attributes
    shown = dictionary.reconstruct(attributes).float().view(n, nodes, d)
    without = (scene.held.flatten(1) - sum(dictionary.parts(attributes).values())).float().view(n, nodes, d)
    found = {"all": {"recovered": recovered(scene, shown), "explained": explained(scene, shown)}}
    found["all"]["necessity"] = 1 - recovered(scene, without)
    found["all"]["scores_explained"] = _scores_explained(scene, kind)
    for name, new in scene.test.new.items():
        edited = dictionary.edit(scene.held.flatten(1), attributes, name, new).view(n, nodes, d)
        found[f"{name}-1"] = {
            "edit_accuracy": accuracy(scene, name, edited),
            "weight": _weight(dictionary, scene, name),
        }
    return found


def _weight(dictionary: SupervisedDictionary, scene: Scene, name: str) -> float:
    """Mean share of the reconstructions that the codes of one attribute make up."""
    parts = dictionary.parts(scene.test.attributes)
    shown = sum(parts.values()).view(scene.held.shape)  # type: ignore[union-attr]
    own = parts[name].view(scene.held.shape)
    return float(((own * shown).sum(2) / shown.square().sum(2)).mean())


def _scores_explained(scene: Scene, kind: Any) -> float:
    """Share of the variance of attention scores, last position to each name, that codes of queries and keys give.

    The median over heads and names: a head that looks nowhere in particular has scores of no variance to speak of.
    """
    queries = [node._replace(kind="q") for node in scene.nodes]
    places = (FIRST_NAME, SECOND_NAME, GIVER)
    keys = [node._replace(kind="k", position=position) for position in places for node in scene.nodes]
    both = [*queries, *keys]
    seen, held = (read(scene.model, task.prompts.tokens, both).double() for task in (scene.fit, scene.test))
    made = supervised(seen.flatten(1), scene.fit.attributes, kind).reconstruct(scene.test.attributes).view(held.shape)
    n = len(queries)
    true, coded = ((x[:, :n].repeat(1, len(places), 1) * x[:, n:]).sum(2) for x in (held, made))
    return float((1 - (true - coded).square().sum(0) / (true - true.mean(0)).square().sum(0)).median())


def told_by_features(scene: Scene, features: Sequence[Features], sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """Metrics of one unsupervised dictionary a node: of all, and of edits by attribute, size and way of choosing."""
    held = scene.held.unbind(1)
    codes = [f.encode(x) for f, x in zip(features, held, strict=True)]
    shown = torch.stack([f.reconstruct(x) for f, x in zip(features, held, strict=True)], 1)
    means = scene.seen.mean(0)
    told = [_told(f.encode(x), scene.fit.attributes) for f, x in zip(features, scene.seen.unbind(1), strict=True)]
    clear = [torch.stack([part.union for part in of.values()]).max(0).values >= GOOD for of in told]
    kept = [(c * k) @ f.decoder + f.bias for c, k, f in zip(codes, clear, features, strict=True)]
    values = {
        "recovered": recovered(scene, shown),
        "explained": explained(scene, shown),
        "necessity": 1 - recovered(scene, scene.held - shown + means),
        "recovered_clear": recovered(scene, torch.stack(kept, 1)),
        "clear_features": float(torch.stack([k.double().mean() for k in clear]).mean()),
        "l0": float(torch.stack([(c != 0).sum(1).double().mean() for c in codes]).mean()),
    }
    for name in scene.test.attributes:
        values[f"values_told_{name}"] = float(
            (torch.stack([of[name].f1.max(0).values for of in told]).max(0).values >= GOOD).double().mean()
        )
    found = {"all": values}
    for name, new in scene.test.new.items():
        old, changed = scene.test.attributes[name], scene.changed[name].unbind(1)
        for size in sizes:
            free = [edit_agnostic(f, x, y, 2 * size) for f, x, y in zip(features, held, changed, strict=True)]
            scores = [of[name].f1 for of in told]
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


def _told(codes: Tensor, attributes: Mapping[str, Tensor]) -> dict[str, Any]:
    sizes = {"order": 2}
    return {name: interpret(codes != 0, values, sizes.get(name, len(NAMES))) for name, values in attributes.items()}


def of_dictionary(dictionary: Dictionary) -> Features:
    """A sparse autoencoder as features."""
    return Features(dictionary.dense, dictionary.W_dec, dictionary.b_dec_out)


def autoencoders(rows: Tensor, architecture: str, settings: Any, seed: int) -> list[Features]:
    """One sparse autoencoder for each node of rows float32[n, nodes, d]."""
    config = SaeConfig(
        architecture, m=settings.width, k=settings.k, steps=settings.steps, batch=settings.batch_size, seed=seed
    )
    return [
        of_dictionary(nearest_in_l0(part.contiguous(), config, settings.penalties, settings.k))
        for part in rows.unbind(1)
    ]


@torch.no_grad()
def general_rows(model: HookedTransformer, tokens: Tensor, nodes: Sequence[Node], seed: int) -> Tensor:
    """float32[rows, nodes, d]: what the heads of the nodes hold at all positions of documents, some rows of them."""
    _, saved = model.run(tokens, save={node.hook for node in nodes})
    rows = torch.stack([saved[node.hook][:, :, node.head] for node in nodes], 2)[tokens != PAD]
    order = torch.randperm(len(rows), generator=torch_generator(seed, "general rows"))
    return rows[order[:GENERAL_ROWS]]


def random_features(rows: Tensor, width: int, k: int, seed: int) -> list[Features]:
    """A floor: random unit directions, of which the k with the largest products code a row, scaled to fit best."""
    made = []
    for i, part in enumerate(rows.unbind(1)):
        directions = torch.randn(width, part.shape[1], generator=torch_generator(seed, "random features", str(i)))
        directions, mean = torch.nn.functional.normalize(directions, dim=1), part.mean(0)
        shown = _top(part - mean, directions, k) @ directions
        length = float(((part - mean) * shown).sum() / shown.square().sum())
        made.append(Features(_coder(mean, directions, k, length), directions, mean))
    return made


def components(rows: Tensor, k: int) -> list[Features]:
    """Principal components, of which the k with the largest shares of either sign code a row."""
    made = []
    for part in rows.unbind(1):
        mean = part.mean(0)
        directions = torch.linalg.svd((part - mean).double(), full_matrices=False).Vh.float()
        made.append(Features(_coder(mean, directions, k, 1.0, signed=True), directions, mean))
    return made


def _top(x: Tensor, directions: Tensor, k: int, signed: bool = False) -> Tensor:
    products = x @ directions.T
    size = products.abs() if signed else products.clamp(min=0)
    top = size.topk(min(k, size.shape[1]), 1).indices
    kept = torch.zeros_like(products).scatter_(1, top, products.gather(1, top))
    return kept if signed else kept.clamp(min=0)


def _coder(mean: Tensor, directions: Tensor, k: int, length: float, signed: bool = False) -> Any:
    return lambda x: length * _top(x - mean, directions, k, signed)
