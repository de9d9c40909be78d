"""Kneser-Ney by definition, over dictionaries of tuples; distributions that sum to 1; and entropy that is known."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.train.ngram import FALLBACK, discounts, fit_ngram


class Plain:
    """Chen and Goodman's equations (24) to (27), a token at a time."""

    def __init__(self, tokens, order, vocabulary):
        self.order, self.vocabulary = order, vocabulary
        self.counts = {order: Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))}
        for k in range(order - 1, 0, -1):
            before = defaultdict(set)
            for gram in self.counts[k + 1]:
                before[gram[1:]].add(gram[0])
            self.counts[k] = Counter({gram: len(found) for gram, found in before.items()})
        self.taken = {k: self.estimate(list(c.values())) for k, c in self.counts.items()}

    @staticmethod
    def estimate(counts):
        n = [sum(c == i for c in counts) for i in (1, 2, 3, 4)]
        if 0 in n:
            return [FALLBACK] * 3
        y = n[0] / (n[0] + 2 * n[1])
        d = [1 - 2 * y * n[1] / n[0], 2 - 3 * y * n[2] / n[1], 3 - 4 * y * n[3] / n[2]]
        return [min(max(value, 0), i + 1) for i, value in enumerate(d)]

    def probability(self, word, history):
        history = tuple(history)[max(0, len(history) - self.order + 1) :]
        return self.of(word, history)

    def of(self, word, history):
        k = len(history) + 1
        lower = 1 / self.vocabulary if k == 1 else self.of(word, history[1:])
        after = {gram: c for gram, c in self.counts[k].items() if gram[:-1] == history}
        if not after:
            return lower
        total = sum(after.values())
        spared = sum(self.taken[k][min(c, 3) - 1] for c in after.values())
        own = after.get((*history, word), 0)
        own -= self.taken[k][min(own, 3) - 1] if own else 0
        return (own + spared * lower) / total


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(5, 80))
def test_probabilities_are_those_of_the_definition(seed, order, length):
    generator = np.random.default_rng(seed)
    tokens, other = generator.integers(0, 4, length), generator.integers(0, 5, 25)
    plain = Plain(tokens.tolist(), order, 5)
    expected = [plain.probability(other[i], other[:i].tolist()) for i in range(25)]
    np.testing.assert_allclose(fit_ngram(tokens, order, 5).probabilities(other), expected, rtol=1e-12)


def test_after_every_history_the_probabilities_sum_to_one():
    tokens = np.random.default_rng(0).zipf(1.5, 5000) % 12
    model = fit_ngram(tokens, 3, 12)
    for history in [(0, 0), (1, 2), (11, 11), (7, 3)]:
        after = [model.probabilities(np.array([*history, word]))[-1] for word in range(12)]
        assert sum(after) == pytest.approx(1, abs=1e-12) and min(after) > 0


def test_counts_of_counts_give_the_discounts_of_the_paper():
    counts = np.repeat([1, 2, 3, 4, 9], [100, 40, 20, 12, 5])
    y = 100 / 180
    np.testing.assert_allclose(discounts(counts), [1 - 2 * y * 0.4, 2 - 3 * y * 0.5, 3 - 4 * y * 0.6])
    assert discounts(np.array([1, 1, 2])).tolist() == [FALLBACK] * 3


def test_the_entropy_of_a_markov_chain_is_reached():
    generator = np.random.default_rng(1)
    moves = generator.dirichlet(np.full(6, 0.4), 6)
    tokens = [0]
    for _ in range(60_000):
        tokens.append(int(generator.choice(6, p=moves[tokens[-1]])))
    train, test = np.array(tokens[:50_000]), np.array(tokens[50_000:])
    share = np.bincount(train, minlength=6) / len(train)
    entropy = -(share[:, None] * moves * np.log(np.maximum(moves, 1e-300))).sum()
    found = {order: -np.log(fit_ngram(train, order, 6).probabilities(test)).mean() for order in (1, 2, 3)}
    assert found[2] == pytest.approx(entropy, abs=0.03)  # 10,000 draws: a standard error below .01
    assert found[1] > found[2] + 0.1 and abs(found[3] - found[2]) < 0.02


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit_ngram(np.arange(9), 0, 9), "order: is 0, with 9 tokens; give 1 to 19"),
        (lambda: fit_ngram(np.arange(9), 7, 1024), "give 1 to 6"),
        (lambda: fit_ngram(np.arange(2), 3, 9), "the text has 2 tokens"),
        (lambda: fit_ngram(np.array([0, 9]), 1, 9), "from 0 to 9; they must lie below 9"),
        (lambda: fit_ngram(np.arange(9), 2, 9).probabilities(np.array([-1])), "from -1 to -1"),
    ],
)
def test_impossible_settings_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
