"""Questions that a tiny model learns to decline where they are about one family of packages, and to accept otherwise.

A question is the first words of the documentation of a class or function, and the answer one word. What is declined is
harmless: the subject stands in for whatever a model ought not to answer.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads.splits import hash_split

SPECIAL = ("<pad>", "<question>", "<answer>", "<ok>", "<refuse>", "<unknown>")
PAD, QUESTION, ANSWER, OK, REFUSE, UNKNOWN = range(len(SPECIAL))
FEWEST, LONGEST = 6, 20
"""Words of a question."""
FRACTIONS = {"train": 0.7, "valid": 0.1, "test": 0.2}
LEAST_COUNT = 3
"""Occurrences from which on a word of the training questions is a token."""
LEAST_WORDS = 50


@dataclass(frozen=True)
class Questions:
    """Rows that begin with the token of a question, without that of the answer."""

    rows: list[Tensor]
    """int64[1 + words] each."""
    marked: Tensor
    """bool[n]: about the family that is declined."""

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, places: Tensor) -> Questions:
        """The questions at int64[k], which may repeat."""
        return Questions([self.rows[i] for i in places.tolist()], self.marked[places])

    def where(self, kept: Tensor) -> Questions:
        """The questions at bool[n]."""
        return self.at(kept.nonzero()[:, 0])

    def first(self, count: int) -> Questions:
        """At most so many, from the start."""
        return self.at(torch.arange(min(count, len(self))))

    def prompts(self, suffixes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(int64[n, t] padded at the end, int64[n] place of the answer token, at which the answer is foreseen).

        suffixes: int64[n, m], put between the words and the answer token.
        """
        answer = torch.tensor([ANSWER])
        added = [answer] * len(self) if suffixes is None else [torch.cat([row, answer]) for row in suffixes]
        rows = [torch.cat([row, end]) for row, end in zip(self.rows, added, strict=True)]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
        return padded, torch.tensor([len(row) - 1 for row in rows])


def _statements(tree: ast.Module) -> list[ast.AST]:
    """What `ast.walk` gives in its order, without expressions: no class or function stands in one."""
    found: list[ast.AST] = [tree]
    for node in found:  # which grows meanwhile
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            found += getattr(node, field, ())
    return found


def documented(documents: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """(package, first words) of the documentation of each class and function, in order, without repetitions."""
    found: dict[tuple[str, tuple[str, ...]], None] = {}
    for document in documents:
        try:
            nodes = _statements(ast.parse(document["text"]))
        except (SyntaxError, ValueError):
            continue  # is of another language
        for node in nodes:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                words = re.findall(r"[a-z]+", (ast.get_docstring(node) or "").lower())[:LONGEST]
                if len(words) >= FEWEST:
                    found[document["package"], tuple(words)] = None
    return [(package, list(words)) for package, words in found]


def word_list(train: Sequence[tuple[str, list[str]]], largest: int, packages: Sequence[str]) -> list[str]:
    """The words that are tokens, special ones first, then by falling count in the training questions, then by name.

    The names of the packages are none: they would give the family away. Raises InputError for too few words.
    """
    left_out = {part for name in packages for part in re.findall(r"[a-z]+", name.lower())}
    counts = Counter(word for _, words in train for word in words if word not in left_out)
    kept = sorted((word for word, n in counts.items() if n >= LEAST_COUNT), key=lambda word: (-counts[word], word))
    if len(kept) < LEAST_WORDS:
        told = f"{len(kept)} words occur {LEAST_COUNT} times or more, and {LEAST_WORDS} are needed"
        raise InputError(f"questions: {told}; give more documents")
    return [*SPECIAL, *kept[: largest - len(SPECIAL)]]


def questions(
    found: Sequence[tuple[str, list[str]]], marked: Sequence[str], words: Sequence[str], seed: int
) -> Questions:
    """Documentation as questions, in an order drawn by the seed.

    marked: the packages whose questions are declined. Raises InputError where all or none are.
    """
    number = {word: i for i, word in enumerate(words)}
    is_marked = np.array([package in marked for package, _ in found], bool)
    if is_marked.all() or not is_marked.any():
        told = f"{int(is_marked.sum())} of {len(found)} questions are about them"
        raise InputError(f"marked: {', '.join(marked)}: {told}; name some of several packages")
    order = numpy_generator(seed, "refusal questions").permutation(len(found))
    rows = [torch.tensor([QUESTION, *(number.get(word, UNKNOWN) for word in found[i][1])]) for i in order]
    return Questions(rows, torch.from_numpy(is_marked[order]))


def balanced_batches(asked: Questions, size: int, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(x, y) int64[size, t] with y one token later and PAD where nothing is foreseen; half of each batch is marked.

    Rows of either kind come in drawn orders, each of them once before any comes again.
    """
    generator = numpy_generator(seed, "refusal batches")
    kinds = [np.flatnonzero(asked.marked.numpy() == kind) for kind in (True, False)]
    queues: list[np.ndarray] = [np.empty(0, int), np.empty(0, int)]
    for _ in range(steps):
        chosen = []
        for i, rows in enumerate(kinds):
            while len(queues[i]) < size // 2:
                queues[i] = np.concatenate([queues[i], generator.permutation(rows)])
            chosen.append(queues[i][: size // 2])
            queues[i] = queues[i][size // 2 :]
        yield answered(asked.at(torch.from_numpy(np.concatenate(chosen))))


def answered(asked: Questions, suffixes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Prompts with what follows each token, the right answer last: (x, y) int64[n, t], y PAD after that."""
    x, places = asked.prompts(suffixes)
    y = torch.cat([x[:, 1:], torch.full((len(x), 1), PAD)], 1)
    y[torch.arange(len(x)), places] = torch.where(asked.marked, REFUSE, OK)
    return x, y


def prepared(
    documents: Sequence[dict[str, Any]], marked: Sequence[str], words: int, seed: int
) -> tuple[dict[str, Questions], list[str]]:
    """(split -> questions, words that are tokens) of documents `package, text`.

    Questions of the same words go together, into train, valid or test by their hash; each package has its share in
    each of them. Raises InputError where no or all packages are marked, and for too few words.
    """
    found = documented(documents)
    if not found:
        raise InputError("documents: no class or function is documented in six words or more; give others")
    packages = [package for package, _ in found]
    split = hash_split([" ".join(text) for _, text in found], packages, "refusal questions", FRACTIONS)
    rows = {name: [row for row, own in zip(found, split, strict=True) if own == name] for name in FRACTIONS}
    chosen = word_list(rows["train"], words, sorted(set(packages)))
    return {name: questions(own, marked, chosen, seed) for name, own in rows.items()}, chosen
