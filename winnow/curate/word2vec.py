"""word2vec: skip-gram and continuous bag of words, by negative sampling or hierarchical softmax.

Mikolov, Chen, Corrado, Dean, "Efficient Estimation of Word Representations in Vector Space", ICLR workshop 2013;
Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality", NeurIPS 2013. Pairs are
drawn anew for each pass and shuffled, and each moves the vectors before the next is looked at.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from winnow.curate._word2vec_loops import descend
from winnow.errors import InputError
from winnow.randomness import numpy_generator

LEAST_RATE = 1e-4
"""Of the first learning rate, what is left of it at the end."""


class Bags(NamedTuple):
    """Bags of input words, one after another: int64[total], int64[n + 1] where each starts, and what each foretells."""

    inputs: np.ndarray
    starts: np.ndarray
    predicted: np.ndarray


class Targets(NamedTuple):
    """Rows of the output matrix int64[n, m] that words are told by, bool labels and which of them count [n, m]."""

    rows: np.ndarray
    labels: np.ndarray
    counts: np.ndarray


class Word2Vec:
    """Vectors of words from the words around them.

    window: greatest distance; each place draws its own from 1 to it. negatives, power: how many words are drawn against
    each, and the exponent of their counts. subsample: words above this share are left out at random, 0 keeps all.
    dim, lr, epochs as usual; lr falls to 1e-4 of itself. Raises InputError for settings that are impossible.
    """

    def __init__(
        self,
        dim: int = 64,
        window: int = 5,
        negatives: int = 5,
        power: float = 0.75,
        subsample: float = 1e-3,
        lr: float = 0.025,
        epochs: int = 5,
        architecture: Literal["skipgram", "cbow"] = "skipgram",
        softmax: Literal["negative", "hierarchical"] = "negative",
        seed: int = 0,
    ) -> None:
        least = {"dim": dim, "window": window, "negatives": negatives, "epochs": epochs}
        wrong = [f"{name} is {value}; give at least 1" for name, value in least.items() if value < 1]
        if wrong or lr <= 0 or subsample < 0:
            raise InputError(
                (wrong or [f"lr is {lr} and subsample {subsample}; give lr above 0 and subsample from 0"])[0]
            )
        if architecture not in ("skipgram", "cbow") or softmax not in ("negative", "hierarchical"):
            raise InputError(
                f"architecture {architecture!r} by {softmax!r}: use skipgram or cbow, negative or hierarchical"
            )
        self.dim, self.window, self.negatives, self.power, self.subsample = dim, window, negatives, power, subsample
        self.lr, self.epochs, self.architecture, self.softmax, self.seed = lr, epochs, architecture, softmax, seed
        self.loss_curve: list[float] = []

    def fit(self, sentences: Sequence[np.ndarray], vocabulary: int) -> Word2Vec:
        """Learn `vectors` and `context` float32[vocabulary, dim] from sentences of word numbers; returns itself.

        loss_curve: mean loss a target of each pass [nats]. With hierarchical softmax, `context` holds the inner nodes
        of the tree. Raises InputError for sentences without a pair, or numbers outside the vocabulary.
        """
        words = np.concatenate([*sentences, np.zeros(0, np.int64)]).astype(np.int64)
        outside = words[(words < 0) | (words >= vocabulary)]
        if len(outside):
            raise InputError(
                f"sentences: hold the word {outside[0]} of a vocabulary of {vocabulary}; number words from 0"
            )
        sentence = np.repeat(np.arange(len(sentences)), [len(each) for each in sentences])
        if not (sentence[1:] == sentence[:-1]).any():
            raise InputError("sentences: none has two words; give sentences with words around words")
        generator = numpy_generator(self.seed, "word2vec")
        counts = np.bincount(words, minlength=vocabulary)
        self.vectors = ((generator.random((vocabulary, self.dim)) - 0.5) / self.dim).astype(np.float32)
        self.context = np.zeros((vocabulary, self.dim), np.float32)
        self.tree = huffman(counts) if self.softmax == "hierarchical" else None
        weights = np.where(counts > 0, np.maximum(counts, 1).astype(float) ** self.power, 0.0)
        self._cumulative = np.cumsum(weights / weights.sum())
        frequency = counts[words] / len(words)
        keep = (
            np.minimum(1.0, np.sqrt(self.subsample / frequency) + self.subsample / frequency) if self.subsample else 1.0
        )
        for epoch in range(self.epochs):
            kept = generator.random(len(words)) < keep
            self._pass(words[kept], sentence[kept], epoch, generator)
        return self

    def _pass(self, words: np.ndarray, sentence: np.ndarray, epoch: int, generator: np.random.Generator) -> None:
        centre, context = pairs(sentence, self.window, generator)
        bags = _bags if self.architecture == "cbow" else _pairs
        inputs, starts, predicted = bags(words, centre, context, generator)
        share = (epoch + np.arange(len(predicted)) / len(predicted)) / self.epochs
        rates = (self.lr * np.maximum(LEAST_RATE, 1 - share)).astype(np.float32)
        targets = self.targets(predicted, generator)
        loss = descend(self.vectors, self.context, inputs, starts, *targets, rates)
        self.loss_curve.append(loss / targets.counts.sum() if len(predicted) else float("nan"))

    def targets(self, predicted: np.ndarray, generator: np.random.Generator) -> Targets:
        """What tells each predicted word: itself against words drawn by their counts, or its way down the tree."""
        if self.tree is not None:
            return Targets(*(part[predicted] for part in self.tree))
        uniform = generator.random((len(predicted), self.negatives))
        drawn = np.minimum(np.searchsorted(self._cumulative, uniform), len(self._cumulative) - 1)
        rows = np.concatenate([predicted[:, None], drawn], axis=1)
        labels = np.zeros(rows.shape, bool)
        labels[:, 0] = True
        return Targets(rows, labels, labels | (rows != predicted[:, None]))  # a word is not drawn against itself


def pairs(sentence: np.ndarray, window: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places (centre, context), int64[n] each, of one sentence, at most as far apart as the centre draws."""
    reach = generator.integers(1, window + 1, len(sentence))
    centres, contexts = [], []
    for distance in range(1, min(window, len(sentence)) + 1):
        left = np.flatnonzero(sentence[distance:] == sentence[:-distance])
        right = left + distance
        centres += [left[reach[left] >= distance], right[reach[right] >= distance]]
        contexts += [right[reach[left] >= distance], left[reach[right] >= distance]]
    empty = np.zeros(0, np.int64)
    return np.concatenate([*centres, empty]), np.concatenate([*contexts, empty])


def _pairs(words: np.ndarray, centre: np.ndarray, context: np.ndarray, generator: np.random.Generator) -> Bags:
    """Shuffled pairs: a bag of one centre, and the context word it foretells."""
    order = generator.permutation(len(centre))
    return Bags(words[centre[order]], np.arange(len(order) + 1), words[context[order]])


def _bags(words: np.ndarray, centre: np.ndarray, context: np.ndarray, generator: np.random.Generator) -> Bags:
    """Shuffled bags of context words, and the centre that each foretells."""
    order = np.argsort(centre, kind="stable")
    places, first, sizes = np.unique(centre[order], return_index=True, return_counts=True)
    shuffled = generator.permutation(len(places))
    first, sizes = first[shuffled], sizes[shuffled]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    within = np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
    return Bags(words[context[order[np.repeat(first, sizes) + within]]], starts, words[places[shuffled]])


def huffman(counts: np.ndarray) -> Targets:
    """Each word's way down the Huffman tree of the counts: inner nodes, labels (1 goes left), and how far it goes."""
    heap = [(int(count), word) for word, count in enumerate(counts)]
    heapq.heapify(heap)
    words, parent, side = len(counts), {}, {}
    for node in range(words, 2 * words - 1):
        for label in (1, 0):
            count, child = heapq.heappop(heap)
            parent[child], side[child] = node, label
            if label:
                total = count
        heapq.heappush(heap, (total + count, node))
    ways = []
    for word in range(words):
        way, node = [], word
        while node in parent:
            way.append((parent[node] - words, side[node]))
            node = parent[node]
        ways.append(way)
    longest = max(len(way) for way in ways)
    padded = np.array([[*way, *[(0, 0)] * (longest - len(way))] for way in ways], np.int64).reshape(words, longest, 2)
    lengths = np.array([len(way) for way in ways])
    return Targets(padded[..., 0], padded[..., 1] == 1, np.arange(longest) < lengths[:, None])
