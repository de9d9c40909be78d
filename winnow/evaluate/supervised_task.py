"""The task that dictionaries are judged on: who got something, with all that its sentences are about."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from winnow.evaluate.supervised_dictionaries import Attributes
from winnow.randomness import torch_generator
from winnow.workloads.names_language import NAMES, IndirectObjects, indirect_objects, tokens_of
from winnow.workloads.splits import threshold_split

FIRST_NAME, SECOND_NAME, GIVER = 2, 4, 10
"""Positions of the names in a sentence of frame 0."""
PAIR_SHARES = {"train": 0.8, "test": 0.2}
"""Of the pairs of names, whichever comes first: none is in the prompts of both splits."""


class Task(NamedTuple):
    """Prompts, what they are about, and for each attribute another value and the prompts that have it."""

    prompts: IndirectObjects
    attributes: dict[str, Tensor]
    new: dict[str, Tensor]
    counterfactual: dict[str, Tensor]


def joined(attributes: Attributes) -> dict[str, Tensor]:
    """The same prompts told by two attributes: who receives and who gives, each together with the order."""
    return {f"{name}_order": 2 * attributes[name] + attributes["order"] for name in ("indirect", "subject")}


def pairs_of(split: str) -> Tensor:
    """bool[names, names]: the pairs of different names that are a split's, the same both ways."""
    first, second = torch.triu_indices(len(NAMES), len(NAMES), 1)
    keys = [f"{a} {b}" for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    own = torch.from_numpy(threshold_split(keys, "pairs of names", PAIR_SHARES) == split)
    pairs = torch.zeros(len(NAMES), len(NAMES), dtype=torch.bool)
    pairs[first[own], second[own]] = True
    return pairs | pairs.T


def task_of(split: str, count: int, seed: int) -> Task:
    """Prompts of frame 0 with the indirect object, the subject and the order of their names as attributes.

    A counterfactual has one other indirect object or subject, which is neither of the two, or the other order. Pairs of
    names, also those of counterfactuals, are the split's (train or test).
    """
    prompts, pairs = _drawn(split, count, seed), pairs_of(split)
    first = int(tokens_of(NAMES[:1])[0])
    order = (prompts.tokens[:, FIRST_NAME] == prompts.subject).long()
    attributes = {"indirect": prompts.indirect - first, "subject": prompts.subject - first, "order": order}
    draws = torch.rand(count, len(NAMES), generator=torch_generator(seed, "counterfactual names", split))
    new, counterfactual, tokens = {"order": 1 - order}, {}, prompts.tokens
    for name, kept in (("indirect", "subject"), ("subject", "indirect")):
        allowed = pairs[attributes[kept]].scatter(1, attributes[name][:, None], False)
        new[name] = draws.masked_fill(~allowed, -1.0).argmax(1)
        own = (attributes[name] + first)[:, None]
        counterfactual[name] = torch.where(tokens == own, new[name][:, None] + first, tokens)
    exchanged = tokens.clone()
    exchanged[:, [FIRST_NAME, SECOND_NAME]] = tokens[:, [SECOND_NAME, FIRST_NAME]]
    return Task(prompts, attributes, new, {**counterfactual, "order": exchanged})


def _drawn(split: str, count: int, seed: int) -> IndirectObjects:
    """The first prompts of a draw whose pairs are the split's; the language itself splits only whole sentences."""
    first, asked = int(tokens_of(NAMES[:1])[0]), 2 * count
    while True:
        drawn = indirect_objects(split, asked, seed, frame=0)
        own = pairs_of(split)[drawn.indirect - first, drawn.subject - first].nonzero()[:count, 0]
        if len(own) == count:
            return IndirectObjects(drawn.tokens[own], drawn.indirect[own], drawn.subject[own], drawn.reference[own])
        asked *= 2
