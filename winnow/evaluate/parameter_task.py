"""The task of dictionaries in code: of two parameters the one that is not stored yet is named again.

A method takes two parameters and stores one of them; the dot that follows asks for the other. It is to code what the
indirect object is to sentences: names stand in the order of the parameters, and the one stored says which is left.
"""

from __future__ import annotations

import keyword
import re
import string
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.evaluate.supervised_task import Frame, Slot, Task, task_of
from winnow.randomness import torch_generator

if TYPE_CHECKING:
    from tokenizers import Tokenizer

METHOD = "    def {method}(self, {first}, {second}):\n        self.{subject} = {subject}\n        self."
END = 0
"""Token that ends a document, after which prompts begin."""
ARGUMENT = re.compile(r"[(,]\s*([A-Za-z]+)\s*(?=[,)=:])")
"""A name that is given, or taken, as an argument."""
LEAST_NAMES = 8


def argument_names(texts: Iterable[str], tokenizer: Tokenizer, most: int) -> list[str]:
    """Names that stand as arguments in most of the texts, at most `most`, which differ in one token from one another.

    A name is one token after a dot, and so is its last part after a space; what stands before that part is the same for
    all of them. Letters count as names that no text has. Sorted by name. Raises InputError for fewer than eight such
    names.
    """
    seen = Counter(dict.fromkeys(string.ascii_lowercase, 0))
    seen.update(name for text in texts for name in set(ARGUMENT.findall(text)))
    alike: dict[tuple[int, ...], list[str]] = {}
    for name, _ in sorted(seen.items(), key=lambda pair: (-pair[1], pair[0])):
        if keyword.iskeyword(name) or name in ("self", "cls") or len(tokenizer.encode(name).ids) != 1:
            continue
        alike.setdefault(tuple(tokenizer.encode(f" {name}").ids[:-1]), []).append(name)
    groups = [names[:most] for names in alike.values()]
    # Letters that no text has must not outnumber names that texts have.
    found = max(groups, key=lambda names: (len(names) >= LEAST_NAMES, sum(seen[name] for name in names)), default=[])
    if len(found) < LEAST_NAMES:
        raise InputError(f"names: {len(found)} arguments of the texts are one token; give more texts or a larger "
                         f"vocabulary, as {LEAST_NAMES} are needed")  # fmt: skip
    return sorted(found)


class Parameters:
    """Prompts of METHOD with given names, for a tokenizer; held: the share of pairs of each of valid and test."""

    def __init__(self, names: list[str], tokenizer: Tokenizer, held: float) -> None:
        self.names, self._tokenizer = names, tokenizer
        plain = dict(zip(("method", "first", "second", "subject"), names, strict=False))
        self._base = self._encoded(**plain)
        slots = {says: self._places(plain, says) for says in plain}
        self._method = slots.pop("method")
        # Where names are one token, the answer is the one that follows "self." in the prompt itself.
        answers = slots["subject"][0].tokens
        shares = {"train": 1 - 2 * held, "valid": held, "test": held}
        self.frame = Frame([slot for part in slots.values() for slot in part], answers, shares)

    def _encoded(self, **said: str) -> Tensor:
        return torch.tensor([END, *self._tokenizer.encode(METHOD.format(**said)).ids])

    def _places(self, plain: dict[str, str], says: str) -> list[Slot]:
        """Where a prompt changes with one of its names, and the token of each name there."""
        rows = torch.stack([self._encoded(**{**plain, says: name}) for name in self.names])
        at = (rows != rows[:1]).any(0).nonzero()[:, 0].tolist()
        return [Slot(place, says, rows[:, place]) for place in at]  # type: ignore[arg-type]

    def task(self, split: str, count: int, seed: int) -> Task:
        """Prompts of a split (train, valid or test): which pair, which of the two is stored and their order are drawn.

        The method has a third name. Raises InputError where the split has no pairs that can be changed to others.
        """
        generator, pairs = torch_generator(seed, "parameters", split), self.frame.pairs(split)
        partners = pairs.sum(1)
        open_pairs = (pairs & (partners > 1)[:, None] & (partners > 1)).nonzero()
        if not len(open_pairs):
            raise InputError(f"names: no two of the {len(pairs)} have others to stand with in {split}; give more names")
        drawn = open_pairs[torch.randint(len(open_pairs), (count,), generator=generator)]
        order = torch.randint(2, (count,), generator=generator)
        attributes = {"indirect": drawn[:, 0], "subject": drawn[:, 1], "order": order}
        third = torch.rand(count, len(pairs), generator=generator).scatter(1, drawn, -1.0).argmax(1)
        tokens = self._base.repeat(count, 1)
        for slot in self._method:
            tokens[:, slot.position] = slot.tokens[third]
        return task_of(self.frame, self.frame.written(tokens, attributes), attributes, split, seed)
