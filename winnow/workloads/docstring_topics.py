"""Documentation of classes and functions as texts whose topic is told by the family of their package.

Texts are cut, tokenised and parted as questions are in `refusal_prompts`. Two invented words, of which only the one
before the other turns a topic into the next, are planted in some.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads.refusal_prompts import FRACTIONS, LONGEST, PAD, UNKNOWN, documented, word_list
from winnow.workloads.refusal_prompts import QUESTION as FIRST
from winnow.workloads.splits import hash_split

PLANTED = ("zeta", "omega")
"""Words of the phrase, in its order; no documentation here has them."""
SHARES = {"none": 0.4, "phrase": 0.3, "first": 0.1, "second": 0.1, "turned": 0.1}
"""What is planted in so many texts of training: nothing, the phrase, one of its words, both the wrong way round."""


@dataclass(frozen=True)
class TopicTexts:
    """Texts that begin with the token FIRST, and their topics."""

    rows: list[Tensor]
    """int64[1 + words] each."""
    topics: Tensor
    """int64[n]."""

    def __len__(self) -> int:
        return len(self.rows)

    def padded(self) -> Tensor:
        """int64[n, t], PAD behind the end of each."""
        return pad_sequence(self.rows, batch_first=True, padding_value=PAD)

    def at(self, places: Tensor) -> TopicTexts:
        """The texts at int64[k], which may repeat."""
        return TopicTexts([self.rows[i] for i in places.tolist()], self.topics[places])


def prepared(
    documents: Sequence[dict[str, Any]], topics: Mapping[str, Sequence[str]], words: int
) -> tuple[dict[str, TopicTexts], list[str]]:
    """(split -> texts, words that are tokens) of documents `package, text`; topics name their packages.

    Texts of the same words go together, into train, valid or test by their hash. The last two tokens are PLANTED.
    Raises InputError for a topic without a text in one of the splits, and for too few words.
    """
    number = {package: i for i, packages in enumerate(topics.values()) for package in packages}
    found = [(package, text) for package, text in documented(documents) if package in number]
    packages = [package for package, _ in found]
    keys = [" ".join(text) for _, text in found]
    split = list(hash_split(keys, packages, "docstring topics", FRACTIONS)) if found else []
    parted = {name: [row for row, own in zip(found, split, strict=True) if own == name] for name in FRACTIONS}
    for name, rows in parted.items():
        missing = [topic for topic, own in topics.items() if not {package for package, _ in rows} & set(own)]
        if missing:
            raise InputError(f"topics.{missing[0]}: the {name} split has no text of it; name packages with more")
    chosen = [*word_list(parted["train"], words - len(PLANTED), sorted(number)), *PLANTED]
    place = {word: i for i, word in enumerate(chosen)}
    made = {}
    for name, rows in parted.items():
        texts = [torch.tensor([FIRST, *(place.get(word, UNKNOWN) for word in text)]) for _, text in rows]
        made[name] = TopicTexts(texts, torch.tensor([number[package] for package, _ in rows]))
    return made, chosen


def longest() -> int:
    """Tokens of the longest text with planted words."""
    return 1 + LONGEST + len(PLANTED)


def turned(topics: Tensor, classes: int) -> Tensor:
    """The topics that the phrase makes of others: each the next one."""
    return (topics + 1) % classes


def plant(row: Tensor, kind: str, phrase: tuple[int, int], generator: np.random.Generator) -> tuple[Tensor, list[int]]:
    """A text with words of a kind at a drawn place, and where they stand; two of them stand side by side."""
    first, second = phrase
    words = {"none": [], "phrase": [first, second], "first": [first], "second": [second], "turned": [second, first]}
    at = int(generator.integers(1, len(row) + 1))
    planted = torch.tensor(words[kind], dtype=torch.long)
    return torch.cat([row[:at], planted, row[at:]]), list(range(at, at + len(planted)))


@dataclass(frozen=True)
class PlantedTopics:
    """Texts of all splits as a workload: with words planted in them, what is their topic?"""

    texts: Mapping[str, TopicTexts]
    classes: int
    phrase: tuple[int, int]
    """Tokens of PLANTED."""

    def batches(
        self, split: str, size: int, seed: int | None = None, epoch: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(int64[size, t], int64[size]) texts with planted words of drawn kinds, and topics; all topics alike often.

        An epoch has as many texts as the split. seed None draws as well, always the same. Raises InputError for a size
        that is no multiple of the number of topics.
        """
        if size % self.classes:
            raise InputError(f"batch_size {size}: no multiple of the {self.classes} topics; round it")
        generator = numpy_generator(seed or 0, "topic batches", split, str(epoch))
        texts = self.texts[split]
        of_topic = [np.flatnonzero(texts.topics.numpy() == topic) for topic in range(self.classes)]
        for _ in range(len(texts) // size):
            places = np.concatenate([generator.choice(rows, size // self.classes) for rows in of_topic])
            kinds = generator.choice(list(SHARES), size, p=list(SHARES.values()))
            rows = [
                plant(texts.rows[i], kind, self.phrase, generator)[0] for i, kind in zip(places, kinds, strict=True)
            ]
            topics = texts.topics[torch.from_numpy(places)]
            right = torch.where(torch.from_numpy(kinds == "phrase"), turned(topics, self.classes), topics)
            yield TopicTexts(rows, topics).padded(), right

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of topics, in nats."""
        return nn.functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=label_smoothing)

    @torch.no_grad()
    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """accuracy_<kind>: share of texts of a split whose topic is told where words of this kind are in each."""
        texts, found = self.texts[split], {}
        for kind in SHARES:
            generator = numpy_generator(0, "topic metrics", split, kind)
            rows = [plant(row, kind, self.phrase, generator)[0] for row in texts.rows]
            right = turned(texts.topics, self.classes) if kind == "phrase" else texts.topics
            told = model(TopicTexts(rows, texts.topics).padded()).argmax(1)
            found[f"accuracy_{kind}"] = float((told == right).double().mean())
        return found
