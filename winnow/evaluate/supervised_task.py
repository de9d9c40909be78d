"""The task that dictionaries are judged on: of two names the one that is not said again comes next.

Which frame the names stand in is a language's own; `giving_task` is that of who got something, in the small language of
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.evaluate.supervised_dictionaries import Attributes
from winnow.randomness import torch_generator
from winnow.workloads.names_language import NAMES, indirect_objects, tokens_of
from winnow.workloads.splits import threshold_split

FIRST_NAME, SECOND_NAME, GIVER = 2, 4, 10
"""Positions of the names in a sentence of frame 0."""
PAIR_SHARES = {"train": 0.8, "test": 0.2}
"""Of the pairs of names, whichever comes first: none is in the prompts of both splits."""


class Slot(NamedTuple):
    """A place of a prompt where a name stands, and int64[names], the token of each name there."""

    position: int
    says: Literal["first", "second", "subject"]
    """The first of two names, the second, or the one of them that is said again."""
    tokens: Tensor


class Frame(NamedTuple):
    """Where names stand in prompts, the token of each as an answer, and the shares of their pairs in each split."""

    slots: list[Slot]
    answers: Tensor
    shares: Mapping[str, float]

    def pairs(self, split: str) -> Tensor:
        """bool[names, names]: the pairs of different names that are a split's, the same both ways."""
        count = len(self.answers)
        first, second = torch.triu_indices(count, count, 1)
        keys = [f"{a} {b}" for a, b in zip(first.tolist(), second.tolist(), strict=True)]
        own = torch.from_numpy(threshold_split(keys, "pairs of names", self.shares) == split)
        pairs = torch.zeros(count, count, dtype=torch.bool)
        pairs[first[own], second[own]] = True
        return pairs | pairs.T

    def written(self, tokens: Tensor, attributes: Attributes) -> Tensor:
        """Prompts int64[n, t] with the names, and their order, that the attributes tell."""
        subject, indirect, order = (attributes[name] for name in ("subject", "indirect", "order"))
        ahead = order == 1
        said = {"first": torch.where(ahead, subject, indirect), "second": torch.where(ahead, indirect, subject)}
        said["subject"], told = subject, tokens.clone()
        for slot in self.slots:
            told[:, slot.position] = slot.tokens[said[slot.says]]
        return told


class Task(NamedTuple):
    """Prompts int64[n, t], what they are about, and for each attribute another value and the prompts that have it.

    Attributes, int64[n]: indirect, the name that comes next; subject, the other one, which is said again; order, 1
    where the subject comes first.
    """

    frame: Frame
    tokens: Tensor
    attributes: dict[str, Tensor]
    new: dict[str, Tensor]
    counterfactual: dict[str, Tensor]

    @property
    def sizes(self) -> dict[str, int]:
        """How many values each attribute can have."""
        return {"indirect": len(self.frame.answers), "subject": len(self.frame.answers), "order": 2}

    @property
    def answer(self) -> Tensor:
        """int64[n]: the token that comes next."""
        return self.frame.answers[self.attributes["indirect"]]

    def difference(self, logits: Tensor) -> Tensor:
        """float[n]: logit of the answer above that of the other name, at the last position of [n, t, v]."""
        other, last = self.frame.answers[self.attributes["subject"]], logits[:, -1]
        return (last.gather(1, self.answer[:, None]) - last.gather(1, other[:, None]))[:, 0]


def joined(attributes: Attributes) -> dict[str, Tensor]:
    """The same prompts told by two attributes: each of the names together with the order."""
    return {f"{name}_order": 2 * attributes[name] + attributes["order"] for name in ("indirect", "subject")}


def task_of(frame: Frame, tokens: Tensor, attributes: dict[str, Tensor], split: str, seed: int) -> Task:
    """The task of prompts int64[n, t] with these attributes, whose pairs of names are the split's.

    A counterfactual has one other indirect object or subject, which is neither of the two, or the other order.
    Pairs of names in counterfactuals are the split's as well; raises InputError where there is no other such pair.
    """
    count, pairs, order = len(tokens), frame.pairs(split), attributes["order"]
    draws = torch.rand(count, len(pairs), generator=torch_generator(seed, "counterfactual names", split))
    new, counterfactual = {"order": 1 - order}, {}
    for name, kept in (("indirect", "subject"), ("subject", "indirect")):
        allowed = pairs[attributes[kept]].scatter(1, attributes[name][:, None], False)
        if not allowed.any(1).all():
            raise InputError(f"names: of the {len(pairs)}, one has no other to stand with in {split}; give more names")
        new[name] = draws.masked_fill(~allowed, -1.0).argmax(1)
    for name in ("indirect", "subject", "order"):
        counterfactual[name] = frame.written(tokens, {**attributes, name: new[name]})
    return Task(frame, tokens, attributes, new, counterfactual)


def giving_frame() -> Frame:
    """Frame 0 of the language of names: two names went somewhere, and one of them gave something to the other."""
    words = torch.from_numpy(tokens_of(NAMES))
    places = {"first": FIRST_NAME, "second": SECOND_NAME, "subject": GIVER}
    return Frame([Slot(place, says, words) for says, place in places.items()], words, PAIR_SHARES)  # type: ignore[arg-type]


def giving_task(split: str, count: int, seed: int) -> Task:
    """Prompts of frame 0 of a split (train or test): who receives is the indirect object, who gives the subject.

    They are the first of a draw whose pairs are the split's; the language itself splits only whole sentences.
    """
    frame = giving_frame()
    first, asked, pairs = int(frame.answers[0]), 2 * count, frame.pairs(split)
    while True:
        drawn = indirect_objects(split, asked, seed, frame=0)
        own = pairs[drawn.indirect - first, drawn.subject - first].nonzero()[:count, 0]
        if len(own) == count:
            break
        asked *= 2
    tokens, indirect, subject = drawn.tokens[own], drawn.indirect[own], drawn.subject[own]
    order = (tokens[:, FIRST_NAME] == subject).long()
    attributes = {"indirect": indirect - first, "subject": subject - first, "order": order}
    return task_of(frame, tokens, attributes, split, seed)
