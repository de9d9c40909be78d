"""n-gram language models with interpolated modified Kneser-Ney smoothing, counted and looked up without loops.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", Computer Speech and Language,
1999; Kneser and Ney, "Improved backing-off for m-gram language modeling", ICASSP 1995.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from winnow.errors import InputError

LARGEST_CODE = 2**63
FALLBACK = 0.75
"""Discount of every count where there are too few n-grams to estimate discounts from."""


@dataclass(frozen=True)
class _Order:
    """Counts of one order: n-grams and their histories as ascending codes, int64."""

    grams: np.ndarray
    discounted: np.ndarray
    """float64[grams]: the count less its discount."""
    histories: np.ndarray
    total: np.ndarray
    """float64[histories]: sum of the counts."""
    spared: np.ndarray
    """float64[histories]: sum of the discounts, which goes to the next lower order."""


@dataclass(frozen=True)
class NGram:
    """A fitted model; orders[k - 1] holds the counts of runs of k tokens."""

    vocabulary: int
    orders: tuple[_Order, ...]

    @property
    def parameters(self) -> int:
        """Numbers of the model as a table: one for each n-gram, and what each history spares for shorter ones."""
        return sum(len(order.grams) + len(order.histories) for order in self.orders)

    def probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """float64[n]: of each token, given up to order - 1 tokens before it; the first has none before it.

        tokens: int[n], below the vocabulary.
        """
        tokens = _checked(tokens, self.vocabulary)
        probability = np.full(len(tokens), 1 / self.vocabulary)
        for k, order in enumerate(self.orders[: len(tokens)], start=1):
            codes = _codes(tokens, k, self.vocabulary)
            history, seen = _find(order.histories, codes // self.vocabulary)
            gram, known = _find(order.grams, codes)
            own = np.where(known, order.discounted[gram], 0.0)
            lower = probability[k - 1 :]
            mixed = (own + order.spared[history] * lower) / order.total[history]
            # A history that was never met says nothing: the shorter one decides.
            probability[k - 1 :] = np.where(seen, mixed, lower)
        return probability

    def following(self, histories: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """float64[n, vocabulary]: of each token that may follow the last lengths[i] tokens of histories int64[n, t]."""
        histories = _checked(histories, self.vocabulary)
        probability = np.full((len(histories), self.vocabulary), 1 / self.vocabulary)
        for k, order in enumerate(self.orders[: histories.shape[1] + 1], start=1):
            rows = np.flatnonzero(lengths >= k - 1)
            codes = _codes_of(histories[rows, histories.shape[1] - k + 1 :], self.vocabulary)
            history, seen = _find(order.histories, codes)
            rows, codes, history = rows[seen], codes[seen], history[seen]
            # Continuations of a history lie side by side among the sorted n-grams.
            firsts = np.searchsorted(order.grams, codes * self.vocabulary)
            counts = np.searchsorted(order.grams, (codes + 1) * self.vocabulary) - firsts
            own = np.zeros((len(rows), self.vocabulary))
            which = np.repeat(np.arange(len(rows)), counts)
            grams = np.arange(counts.sum()) + np.repeat(firsts - np.cumsum(counts) + counts, counts)
            own[which, order.grams[grams] % self.vocabulary] = order.discounted[grams]
            mixed = own + order.spared[history][:, None] * probability[rows]
            probability[rows] = mixed / order.total[history][:, None]
        return probability


def fit_ngram(tokens: np.ndarray, order: int, vocabulary: int) -> NGram:
    """Count runs of up to `order` tokens.

    tokens: int[n], below the vocabulary; documents laid end to end. The highest order has counts, lower ones the
    number of different tokens before a run, as Kneser and Ney have it. Raises InputError for an order below 1, one
    whose runs have no code in 63 bits, fewer tokens than the order, and a token outside the vocabulary.
    """
    tokens = _checked(tokens, vocabulary)
    if order < 1 or vocabulary**order >= LARGEST_CODE:
        raise InputError(f"order: is {order}, with {vocabulary} tokens; give 1 to {_longest(vocabulary)}")
    if len(tokens) < order:
        raise InputError(f"order: is {order}, and the text has {len(tokens)} tokens; give more text")
    orders = []
    grams, counts = np.unique(_codes(tokens, order, vocabulary), return_counts=True)
    for k in range(order, 0, -1):
        orders.append(_order(grams, counts, vocabulary))
        # Each different run counts once for the run without its first token.
        grams, counts = np.unique(grams % vocabulary ** (k - 1), return_counts=True)
    return NGram(vocabulary, tuple(reversed(orders)))


def discounts(counts: np.ndarray) -> np.ndarray:
    """float64[3]: what is taken from counts of one, of two, and of three or more (Chen and Goodman, equation 26)."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(float)
    if not n.all():
        return np.full(3, FALLBACK)
    share = n[0] / (n[0] + 2 * n[1])
    sizes = np.arange(1, 4)
    return np.clip(sizes - (sizes + 1) * share * n[1:] / n[:-1], 0, sizes)


def _order(grams: np.ndarray, counts: np.ndarray, vocabulary: int) -> _Order:
    taken = discounts(counts)[np.minimum(counts, 3) - 1]
    histories, starts = np.unique(grams // vocabulary, return_index=True)
    total = np.add.reduceat(counts.astype(float), starts)
    return _Order(grams, counts - taken, histories, total, np.add.reduceat(taken, starts))


def _codes(tokens: np.ndarray, k: int, vocabulary: int) -> np.ndarray:
    """int64[n - k + 1]: every run of k tokens as one number."""
    codes = np.zeros(len(tokens) - k + 1, np.int64)
    for at in range(k):
        codes = codes * vocabulary + tokens[at : len(tokens) - k + 1 + at]
    return codes


def _codes_of(runs: np.ndarray, vocabulary: int) -> np.ndarray:
    """int64[n]: each run int64[n, k] as one number."""
    codes = np.zeros(len(runs), np.int64)
    for column in runs.T:
        codes = codes * vocabulary + column
    return codes


def _find(sorted_codes: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each code is or would be, and whether it is there."""
    at = np.minimum(np.searchsorted(sorted_codes, codes), len(sorted_codes) - 1)
    return at, sorted_codes[at] == codes


def _checked(tokens: np.ndarray, vocabulary: int) -> np.ndarray:
    tokens = np.asarray(tokens).astype(np.int64)
    if tokens.size and not (tokens.min() >= 0 and tokens.max() < vocabulary):
        raise InputError(f"tokens: from {tokens.min()} to {tokens.max()}; they must lie below {vocabulary}")
    return tokens


def _longest(vocabulary: int) -> int:
    return next(k for k in range(1, 64) if vocabulary ** (k + 1) >= LARGEST_CODE)
