"""Interpreters of neurons that tell relations: a search by words, with and without an eye for groups, and baselines.

S. Schwettmann et al., "FIND: A Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023,
Datasets and Benchmarks. Interpreters may ask half of the words of each group; the others judge what they say.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from winnow.evaluate.find_interpreters import Interpretation
from winnow.workloads.find_functions import Function
from winnow.workloads.find_relations import (
    Relation,
    describe,
    draw_relation,
    every_relation,
    related_words,
    source,
    value,
)


@cache
def candidates(groups: bool) -> tuple[list[Relation], np.ndarray]:
    """Relations, those with corrupted groups among them on demand, and their answers to the words that may be asked."""
    relations = [relation for relation in every_relation() if groups or not relation.group]
    return relations, np.array([[value(relation, word) for word in related_words(True)] for relation in relations])


def _told(relation: Relation, confidence: float) -> Interpretation:
    return Interpretation(describe(relation), source(relation), None, confidence)


@dataclass(frozen=True)
class RelationSearch:
    """The first relation that agrees with most answers; `groups`: corrupted groups are among what is sought.

    `adaptive`: ask the word that tells most of those apart that agree best so far.
    """

    name: str = "relations"
    adaptive: bool = True
    groups: bool = True
    kinds: tuple[str, ...] = ("relation",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """Ask words until nothing tells the best candidates apart or the budget is used."""
        relations, table = candidates(self.groups)
        words, agreed, asked = related_words(True), np.zeros(len(relations), int), 0
        order = generator.permutation(len(words))
        free = np.ones(len(words), bool)
        while function.left and free.any():
            best = np.flatnonzero(agreed == agreed.max())
            if self.adaptive:
                spread = np.where(free, _entropies(table[best]), -1)
                if len(best) == 1 or spread.max() <= 0:
                    break
                word = int(np.argmax(spread))
            else:
                word = int(order[asked])
            (answer,) = function.query([words[word]])
            agreed += table[:, word] == answer
            free[word] = False
            asked += 1
        best = np.flatnonzero(agreed == agreed.max())
        return _told(relations[int(best[0])], float(agreed.max()) / max(asked, 1) / len(best))


def _entropies(table: np.ndarray) -> np.ndarray:
    """Bits [words] that an answer tells about which row it is from, all rows being as likely."""
    found = []
    for column in table.T:
        shares = np.unique(column, return_counts=True)[1] / len(column)
        found.append(-float((shares * np.log2(shares)).sum()))
    return np.array(found)


@dataclass(frozen=True)
class RelationMemoriser:
    """The answers themselves, and nothing for words that were not asked."""

    name: str = "relation_memoriser"
    kinds: tuple[str, ...] = ("relation",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """Code that looks the word up."""
        words = [str(word) for word in generator.permutation(related_words(True))[: function.left]]
        known = dict(zip(words, function.query(words), strict=True))
        return Interpretation("what was answered", f"def f(x):\n    return {known!r}.get(x, '')\n", None, 0.0)


@dataclass(frozen=True)
class RandomRelation:
    """A relation that is drawn as the library's are, without a query."""

    name: str = "random_relation"
    kinds: tuple[str, ...] = ("relation",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """One relation, drawn."""
        return _told(draw_relation(generator), 0.0)


RELATION_INTERPRETERS = (
    RelationSearch(),
    RelationSearch("relations_random", adaptive=False),
    RelationSearch("relations_global", groups=False),
    RelationMemoriser(),
    RandomRelation(),
)
