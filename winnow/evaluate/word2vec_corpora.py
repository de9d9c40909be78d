"""Sentences for word2vec, and words to be found again: identifiers of lines of code, and items that users took."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from winnow.errors import InputError
from winnow.randomness import numpy_generator

if TYPE_CHECKING:
    from winnow.workloads.interactions import Interactions

LATEST = 5
"""Items before the one that is asked for."""
_WORD = re.compile(r"[A-Za-z_]\w*")

Questions = tuple[np.ndarray, np.ndarray]


class Corpus(NamedTuple):
    """Lines of words as numbers; questions: int64[n, most] the others of a line, -1 for none, and the missing."""

    words: list[str]
    lines: list[np.ndarray]
    valid: Questions
    test: Questions


def corpus_of(folder: Path, tokens: int, vocabulary: int, questions: int) -> Corpus:
    """Of a curated folder of texts, which asks about valid and held_out, or of interactions, about valid and test.

    Raises InputError as `corpus` and `item_corpus` do.
    """
    from winnow.pipeline.tables import read_parquet

    paths = {name: folder / f"{name}.parquet" for name in ("train", "valid", "held_out")}
    if not paths["held_out"].exists():
        from winnow.workloads.interactions import Interactions  # torch is paid for only here

        return item_corpus(Interactions(folder), tokens, vocabulary, questions)
    texts = {name: read_parquet(path, ["text"])["text"].to_pylist() for name, path in paths.items()}
    return corpus(texts, tokens, vocabulary, questions)


def identifier_lines(texts: Sequence[str]) -> Iterator[list[str]]:
    """The identifiers, in order, of each line that has three or more; keywords are left out."""
    for text in texts:
        for line in text.splitlines():
            found = [word for word in _WORD.findall(line) if not keyword.iskeyword(word)]
            if len(found) >= 3:
                yield found


def corpus(splits: dict[str, Sequence[str]], tokens: int, vocabulary: int, questions: int) -> Corpus:
    """Lines of a random part of train, and questions of valid and of held_out, the same for all who ask alike.

    tokens: identifiers of train that are taken; vocabulary: the most frequent of them that are kept. Raises InputError
    for a split without a question.
    """
    lines = _first(_shuffled(splits["train"], "train"), tokens)
    words = [word for word, _ in Counter(word for line in lines for word in line).most_common(vocabulary)]
    numbers = {word: number for number, word in enumerate(words)}
    known = [np.array([numbers[word] for word in line if word in numbers]) for line in lines]
    asked = [_questions(_shuffled(splits[name], name), numbers, questions, name) for name in ("valid", "held_out")]
    return Corpus(words, [line for line in known if len(line) > 1], *asked)


def item_corpus(workload: Interactions, tokens: int, vocabulary: int, questions: int) -> Corpus:
    """Items that users took, in order, as lines; asked for is each user's item of valid and test after the last five.

    tokens, vocabulary, questions: as for `corpus`, of events, items and users. Raises InputError for a split that asks
    for no known item.
    """
    users, starts, lengths = (found := workload.sequences("train")).runs()
    order = numpy_generator(0, "word2vec", "train").permutation(len(users))
    lines = _first((found.items[starts[i] : starts[i] + lengths[i]].tolist() for i in order), tokens)
    items = [item for item, _ in Counter(item for line in lines for item in line).most_common(vocabulary)]
    numbers = np.full(workload.items + 1, -1)
    numbers[items] = np.arange(len(items))
    known = [numbers[line][numbers[line] >= 0] for line in lines]
    asked = [_next_items(workload, split, numbers, questions) for split in ("valid", "test")]
    return Corpus([workload.meta.vocabulary[i] for i in items], [line for line in known if len(line) > 1], *asked)


def _next_items(workload: Interactions, split: str, numbers: np.ndarray, count: int) -> Questions:
    asked = workload.asked(split)
    others = numbers[asked.histories[:, -LATEST:].numpy()]
    missing = numbers[asked.targets.numpy()]
    others[others == missing[:, None]] = -1
    others = np.take_along_axis(others, np.argsort(others < 0, axis=1, kind="stable"), axis=1)
    order = numpy_generator(0, "word2vec", "questions", split).permutation(len(missing))
    chosen = order[((missing >= 0) & (others[:, 0] >= 0))[order]][:count]
    if not len(chosen):
        raise InputError(f"{split}: asks for no item of the vocabulary; raise tokens or vocabulary")
    return others[chosen], missing[chosen]


def _first(lines: Iterable[list[Any]], tokens: int) -> list[list[Any]]:
    """Lines until they have so many words."""
    found: list[list[Any]] = []
    taken = 0
    for line in lines:
        if taken >= tokens:
            break
        found.append(line)
        taken += len(line)
    return found


def _shuffled(texts: Sequence[str], name: str) -> Iterator[list[str]]:
    order = numpy_generator(0, "word2vec", name).permutation(len(texts))
    return identifier_lines([texts[index] for index in order])


def _questions(lines: Iterator[list[str]], numbers: dict[str, int], count: int, name: str) -> Questions:
    """Identifiers of lines without one of them, filled up with -1, and the one left out."""
    generator = numpy_generator(0, "word2vec", "questions", name)
    contexts, missing = [], []
    for line in lines:
        known = [numbers[word] for word in line if word in numbers]
        if len(known) > 2 and len(set(known)) > 1:
            at = int(generator.integers(len(known)))
            contexts.append([word for word in known if word != known[at]])
            missing.append(known[at])
        if len(missing) == count:
            break
    if not missing:
        raise InputError(f"{name}: has no line with three identifiers of the vocabulary; raise tokens or vocabulary")
    most = max(len(context) for context in contexts)
    filled = [context + [-1] * (most - len(context)) for context in contexts]
    return np.array(filled), np.array(missing)
