"""A small model that declines, attacked by searches of several kinds: what succeeds, and for how much work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.evaluate.refusal_defence import random_suffixes
from winnow.evaluate.refusal_subspaces import (
    AnswerObjective,
    AttentionObjective,
    ProbeObjective,
    SteeringObjective,
    Subspaces,
    fit_subspaces,
    safety_heads,
)
from winnow.evaluate.subspace_rerouting import Attack, Objective, SearchConfig, reroute
from winnow.models.hooked_transformer import HookedTransformer
from winnow.randomness import torch_generator
from winnow.train.refusal_model import answers
from winnow.workloads.refusal_prompts import ANSWER, OK, REFUSE, UNKNOWN, Questions

Rows = list[dict[str, Any]]
Maker = Callable[[Tensor, Sequence[int]], Objective]
"""The objective for a prompt int64[t] and its slots."""
SEARCHES = ("probe_first", "probe_middle", "probe_both", "steering")
ATTENTION = ("dazzle", "ablate", "silence")
HEADS, LOOKED_AT = 2, 3
"""Heads that attention objectives move, and places that `ablate` hides from them."""
DRAWS = 16
"""Random suffixes a prompt."""


class Scene(NamedTuple):
    """A model, what is known of it, and the prompts that it refuses and accepts."""

    model: HookedTransformer
    subspaces: Subspaces
    refused: Questions
    accepted: Questions
    """Training prompts."""
    attacked: Questions
    """Test prompts that it refuses."""
    benign: Questions
    """Test prompts that it accepts."""


def scene(model: HookedTransformer, asked: dict[str, Questions], count: int, seed: int) -> Scene:
    """Subspaces and prompts of a model; raises InputError where it refuses fewer than 5 marked test questions."""
    model.requires_grad_(False)
    refused, accepted = told_apart(model, asked["train"])
    attacked, benign = told_apart(model, asked["test"])
    attacked, accepted = attackable(attacked, "test").first(count), accepted.first(len(refused))
    return Scene(model, fit_subspaces(model, refused, accepted, seed), refused, accepted, attacked, benign)


def told_apart(model: HookedTransformer, asked: Questions) -> tuple[Questions, Questions]:
    """The marked questions that a model refuses, and the others that it accepts."""
    said = answers(model, asked)
    return asked.where((said == REFUSE) & asked.marked), asked.where((said == OK) & ~asked.marked)


def attackable(refused: Questions, split: str) -> Questions:
    """The same questions; raises InputError for fewer than 5."""
    if len(refused) < 5:
        raise InputError(f"refusal model: it refuses {len(refused)} {split} questions; train it for more steps")
    return refused


def makers(scene: Scene, shift: float) -> dict[str, Maker]:
    """Name -> objective for a prompt. The last layer is aimed at by none: the others are to carry over to it."""
    model, found = scene.model, scene.subspaces
    last = max(1, len(model.blocks) - 1)
    middle = last - 1
    probes = {0: found.probes[0], middle: found.probes[middle]}
    fixed: dict[str, Objective] = {
        "probe_first": ProbeObjective({0: found.probes[0]}, {0: 1.0}),
        "probe_middle": ProbeObjective({middle: found.probes[middle]}, {middle: 1.0}),
        "probe_both": ProbeObjective(probes, dict.fromkeys(probes, 1 / len(probes))),
        "steering": SteeringObjective({middle: found.directions[middle]}, shift),
        "gcg": AnswerObjective(model),
    }
    made: dict[str, Maker] = {name: _always(objective) for name, objective in fixed.items()}

    @cache
    def heads() -> list[tuple[int, int]]:  # which most of those who ask for a maker do not need
        return [(layer, head) for layer, head, _ in safety_heads(model, scene.refused, scene.accepted)[:HEADS]]

    made["dazzle"] = lambda prompt, slots: AttentionObjective(heads(), "dazzle", slots)
    made["ablate"] = lambda prompt, slots: AttentionObjective(
        heads(), "ablate", _looked_at(model, prompt, slots, heads())
    )
    made["silence"] = lambda prompt, slots: AttentionObjective(heads(), "silence")
    return made


def _always(objective: Objective) -> Maker:
    return lambda prompt, slots: objective


@torch.no_grad()
def _looked_at(
    model: HookedTransformer, prompt: Tensor, slots: Sequence[int], heads: Sequence[tuple[int, int]]
) -> list[int]:
    """The places before the slots that the heads attend to most from the last token."""
    points = [f"blocks.{layer}.attn.hook_pattern" for layer, _ in heads]
    _, saved = model.run(prompt[None], save=points, stop_at=len(model.blocks))
    seen = torch.stack([saved[f"blocks.{layer}.attn.hook_pattern"][0, head, -1] for layer, head in heads]).sum(0)
    return seen[: min(slots)].topk(min(LOOKED_AT, min(slots))).indices.tolist()


def attack_all(
    scene: Scene, asked: Questions, maker: Maker, slots: int, config: SearchConfig, seed: int, name: str
) -> tuple[Tensor, list[Attack]]:
    """Suffixes int64[n, slots] of the lowest loss for each question, and how each was found."""
    found = []
    for i, row in enumerate(asked.rows):
        prompt = torch.cat([row, torch.full((slots,), UNKNOWN), torch.tensor([ANSWER])])
        places = list(range(len(row), len(row) + slots))
        generator = torch_generator(seed, "rerouting", name, str(slots), str(i))
        found.append(reroute(scene.model, prompt, places, maker(prompt, places), config, generator))
    return torch.stack([attack.slot_ids for attack in found]), found


def succeeded(model: HookedTransformer, asked: Questions, suffixes: Tensor) -> Tensor:
    """bool[n]: whether a plain run answers OK."""
    return answers(model, asked, suffixes) == OK


def attack_rows(name: str, slots: int, success: Tensor, found: Sequence[Attack]) -> Rows:
    """One row a prompt: whether it succeeded, losses and work."""
    return [
        {
            "objective": name,
            "slots": slots,
            "prompt": i,
            "success": float(success[i]),
            "first_loss": attack.losses[0],
            "last_loss": attack.losses[-1],
            "iterations": len(attack.losses) - 1,
            "layer_forwards": attack.layer_forwards,
        }
        for i, attack in enumerate(found)
    ]


def random_rows(scene: Scene, slots: int, seed: int) -> Rows:
    """The share of drawn suffixes that succeed, for each prompt."""
    generator, model = torch_generator(seed, "rerouting", "random", str(slots)), scene.model
    hits = torch.zeros(len(scene.attacked))
    for _ in range(DRAWS):
        drawn = random_suffixes(len(scene.attacked), slots, model.embed.num_embeddings, generator)
        hits += succeeded(model, scene.attacked, drawn)
    return [
        {"objective": "random", "slots": slots, "prompt": i, "success": float(hit) / DRAWS, "layer_forwards": 0}
        for i, hit in enumerate(hits)
    ]


def compared(
    scene: Scene, valid: Questions, settings: Any, config: SearchConfig, seed: int
) -> tuple[str, Rows, Tensor]:
    """(the search that does best on other prompts, a row an attack, its suffixes at the defended length).

    The best of the searches is chosen on prompts of the valid split, so that the choice costs nothing on these. It
    has rows of its own, named `best`. At lengths other than the defended one, and for attention, `few` prompts count.
    """
    made, main = makers(scene, settings.shift), settings.defended
    best = _chosen(scene._replace(attacked=valid.first(settings.few)), made, main, config, seed)
    rows, suffixes = [], {}
    for slots in settings.slots:
        asked = scene.attacked if slots == main else scene.attacked.first(settings.few)
        for name in [*SEARCHES, "gcg"]:
            ids, found = attack_all(scene, asked, made[name], slots, config, seed, name)
            rows += attack_rows(name, slots, succeeded(scene.model, asked, ids), found)
            suffixes[name, slots] = ids
        rows += random_rows(scene._replace(attacked=asked), slots, seed)
    for name in ATTENTION:
        asked = scene.attacked.first(settings.few)
        ids, found = attack_all(scene, asked, made[name], main, config, seed, name)
        rows += attack_rows(name, main, succeeded(scene.model, asked, ids), found)
    rows += [row | {"objective": "best"} for row in rows if row["objective"] == best]
    return best, rows, suffixes[best, main]


def _chosen(scene: Scene, made: dict[str, Maker], slots: int, config: SearchConfig, seed: int) -> str:
    """The search with most successes, of equal ones that with least work."""
    told = {}
    for name in SEARCHES:
        ids, found = attack_all(scene, scene.attacked, made[name], slots, config, seed, f"choice {name}")
        won = float(succeeded(scene.model, scene.attacked, ids).double().mean())
        told[name] = (won, -sum(attack.layer_forwards for attack in found))
    return max(told, key=lambda name: told[name])


def targeted_layers(name: str, layers: int) -> frozenset[int]:
    """The layers that a search aims at."""
    middle = max(1, layers - 1) - 1
    return frozenset({"probe_first": {0}, "probe_both": {0, middle}}.get(name, {middle}))
