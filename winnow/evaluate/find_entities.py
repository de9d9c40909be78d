"""Interpreters of neurons that answer to concepts: a search of the taxonomy by words, and baselines.

S. Schwettmann et al., "FIND: A Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023,
Datasets and Benchmarks. Interpreters may ask half of the words of each category; the others judge what they say.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np

from winnow.evaluate.find_interpreters import Interpretation
from winnow.workloads.find_concepts import Node, describe, draw_concepts, nodes, shown_words, source, value
from winnow.workloads.find_functions import Function

ALIKE = 1e-9


@cache
def candidates() -> tuple[list[tuple[Node, ...]], np.ndarray]:
    """Single concepts, then pairs of different domains, and what each gives for the words that may be asked."""
    words = shown_words(True)
    single = np.array([[value((node,), word) for word in words] for node in nodes()])
    pairs = [(i, j) for i, j in combinations(range(len(nodes())), 2) if nodes()[i][0] != nodes()[j][0]]
    first, second = np.array(pairs).T
    concepts: list[tuple[Node, ...]] = [(node,) for node in nodes()]
    concepts += [(nodes()[i], nodes()[j]) for i, j in pairs]
    return concepts, np.concatenate([single, np.maximum(single[first], single[second])])


@dataclass(frozen=True)
class ConceptSearch:
    """The first concepts that agree with all answers; `adaptive`: ask the word that tells most of them apart."""

    name: str = "concepts"
    adaptive: bool = True
    kinds: tuple[str, ...] = ("entity",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """Ask words until one candidate is left, nothing tells the rest apart or the budget is used."""
        concepts, table = candidates()
        words, left = shown_words(True), np.arange(len(concepts))
        if not self.adaptive:
            asked = generator.permutation(len(words))[: function.left]
            answers = np.array(function.query([words[i] for i in asked]))
            left = left[(np.abs(table[:, asked] - answers) < ALIKE).all(axis=1)]
        while self.adaptive and function.left and len(left) > 1:
            spread = _entropies(table[left])
            best = int(np.argmax(spread))
            if spread[best] < ALIKE:
                break
            (answer,) = function.query([words[best]])
            left = left[np.abs(table[left, best] - answer) < ALIKE]
        if not len(left):
            return Interpretation("answers to nothing that is known here", "def f(x):\n    return 0.0\n", None, 0.0)
        chosen = concepts[int(left[0])]
        return Interpretation(describe(chosen), source(chosen), None, 1 / len(left))


def _entropies(table: np.ndarray) -> np.ndarray:
    """Bits [words] that an answer tells about which row it is from, all rows being as likely."""
    shares = np.stack([(np.abs(table - grade) < ALIKE).mean(axis=0) for grade in np.unique(table)])
    return -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=0)


@dataclass(frozen=True)
class WordMemoriser:
    """The answers themselves, and 0 for words that were not asked."""

    name: str = "word_memoriser"
    kinds: tuple[str, ...] = ("entity",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """Code that looks the word up."""
        words = [str(word) for word in generator.permutation(shown_words(True))[: function.left]]
        known = dict(zip(words, function.query(words), strict=True))
        return Interpretation("what was answered", f"def f(x):\n    return {known!r}.get(x, 0.0)\n", None, 0.0)


@dataclass(frozen=True)
class RandomConcept:
    """A concept that is drawn as the library's are, without a query."""

    name: str = "random_concept"
    kinds: tuple[str, ...] = ("entity",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """One concept, drawn."""
        chosen = draw_concepts(False, generator)
        return Interpretation(describe(chosen), source(chosen), None, 0.0)


ENTITY_INTERPRETERS = (
    ConceptSearch(),
    ConceptSearch("concepts_random", adaptive=False),
    WordMemoriser(),
    RandomConcept(),
)
