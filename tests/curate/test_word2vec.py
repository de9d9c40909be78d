"""word2vec's draws are those it names, and words of one topic come together."""

import heapq
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from winnow.curate.word2vec import Targets, Word2Vec, _bags, _pairs, huffman, pairs
from winnow.errors import InputError


def two_topics(count=400, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 10, 6) + 10 * (i % 2) for i in range(count)]


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
@pytest.mark.parametrize("softmax", ["negative", "hierarchical"])
def test_words_of_one_topic_come_together(architecture, softmax):
    model = Word2Vec(dim=12, lr=0.1, epochs=8, subsample=0, architecture=architecture, softmax=softmax)
    model.fit(two_topics(), 20)
    unit = model.vectors / np.linalg.norm(model.vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    within = (cosine[:10, :10].sum() - 10) / 90 / 2 + (cosine[10:, 10:].sum() - 10) / 90 / 2
    assert within > cosine[:10, 10:].mean() + 0.5
    assert model.loss_curve[-1] < model.loss_curve[0] and len(model.loss_curve) == 8


def test_negatives_are_drawn_by_powers_of_counts():
    sentences = [np.repeat(np.arange(6), [50, 30, 10, 5, 3, 1])]
    for power in (0.75, 0.0, -0.5):
        model = Word2Vec(dim=2, epochs=1, negatives=20, power=power).fit(sentences, 7)
        rows = model.targets(np.full(1500, 6), np.random.default_rng(1)).rows[:, 1:].flatten()
        counts = np.bincount(rows, minlength=7)
        expected = np.array([50, 30, 10, 5, 3, 1], float) ** power
        assert counts[6] == 0  # a word that does not occur
        assert chisquare(counts[:6], expected / expected.sum() * counts.sum()).pvalue > 1e-3


def test_a_word_is_not_drawn_against_itself():
    model = Word2Vec(dim=2, epochs=1, negatives=8).fit([np.array([0, 0, 0, 1])], 2)
    targets = model.targets(np.zeros(50, int), np.random.default_rng(0))
    assert targets.labels[:, 0].all() and not targets.labels[:, 1:].any()
    assert ((targets.rows[:, 1:] != 0) == targets.counts[:, 1:]).all() and targets.counts[:, 0].all()


def test_pairs_are_all_within_the_distance_that_the_centre_draws():
    sentence = np.repeat(np.arange(200), np.arange(200) % 7)
    centre, context = pairs(sentence, 4, np.random.default_rng(0))
    reach = np.random.default_rng(0).integers(1, 5, len(sentence))
    expected = {
        (i, j)
        for i in range(len(sentence))
        for j in range(max(0, i - 4), min(len(sentence), i + 5))
        if i != j and sentence[i] == sentence[j] and abs(i - j) <= reach[i]
    }
    assert len(centre) == len(expected) and set(zip(centre.tolist(), context.tolist(), strict=True)) == expected


def test_batches_hold_every_pair_or_every_bag_once():
    words = np.arange(100) % 13
    centre, context = pairs(np.repeat(np.arange(25), 4), 3, np.random.default_rng(0))
    told = Counter(zip(words[centre].tolist(), words[context].tolist(), strict=True))
    found = _pairs(words, centre, context, np.random.default_rng(1))
    assert Counter(zip(found.inputs.tolist(), found.predicted.tolist(), strict=True)) == told
    assert found.starts.tolist() == list(range(len(centre) + 1))
    assert found.inputs.tolist() != words[centre].tolist()
    inputs, starts, predicted = _bags(words, centre, context, np.random.default_rng(1))
    bags = Counter(
        (word, tuple(sorted(inputs[a:b].tolist())))
        for word, a, b in zip(predicted.tolist(), starts, starts[1:], strict=False)
    )
    places = np.unique(centre)
    assert bags == Counter((int(words[p]), tuple(sorted(words[context[centre == p]].tolist()))) for p in places)


@pytest.mark.parametrize("counts", [[40, 3, 1, 7, 20, 20, 0], [5, 5, 5, 6, 6, 7, 8], [1, 1, 2, 3, 5, 8, 13]])
def test_the_tree_is_huffmans(counts):
    counts = np.array(counts)
    tree = huffman(counts)
    lengths = tree.counts.sum(1)
    heap = list(counts)
    heapq.heapify(heap)
    least = 0
    while len(heap) > 1:
        total = heapq.heappop(heap) + heapq.heappop(heap)
        least += total
        heapq.heappush(heap, total)
    assert (lengths * counts).sum() == least
    generator = np.random.default_rng(0)
    nodes, hidden = generator.normal(size=(7, 5)), generator.normal(size=5)
    chances = 1 / (1 + np.exp(-(nodes[tree.rows] @ hidden) * np.where(tree.labels, 1, -1)))
    assert np.where(tree.counts, chances, 1.0).prod(1).sum() == pytest.approx(1, abs=1e-12)


def test_frequent_words_are_left_out_as_often_as_the_formula_says():
    seen = []

    class Spy(Word2Vec):
        def _pass(self, words, sentence, epoch, generator):
            seen.append(np.bincount(words, minlength=3))

    sentences = [np.repeat([0, 1, 2], [9000, 900, 100])]
    Spy(epochs=30, subsample=0.01).fit(sentences, 3)
    share = np.array([0.9, 0.09, 0.01])
    expected = np.minimum(1, np.sqrt(0.01 / share) + 0.01 / share) * [9000, 900, 100]
    assert np.mean(seen, axis=0) == pytest.approx(expected, rel=0.03)
    seen.clear()
    Spy(epochs=1, subsample=0).fit(sentences, 3)
    assert seen[0].tolist() == [9000, 900, 100]


def test_the_learning_rate_falls_to_a_ten_thousandth(monkeypatch):
    rates = []
    monkeypatch.setattr("winnow.curate.word2vec.descend", lambda *arguments: rates.extend(arguments[-1]) or 0.0)
    Word2Vec(lr=0.5, epochs=4, dim=2).fit(two_topics(200), 20)
    assert rates[0] == 0.5 and rates == sorted(rates, reverse=True) and 0.5e-4 <= rates[-1] < 1e-3
    assert np.mean(np.array(rates) <= 0.25) == pytest.approx(0.5, abs=0.01)


def test_equal_seeds_give_equal_bits():
    a, b, c = (Word2Vec(dim=4, epochs=2, seed=seed).fit(two_topics(50), 20) for seed in (3, 3, 4))
    assert np.array_equal(a.vectors, b.vectors) and np.array_equal(a.context, b.context)
    assert not np.array_equal(a.vectors, c.vectors)


def test_it_learns_what_gensim_learns():
    gensim = pytest.importorskip("gensim.models")
    generator = np.random.default_rng(0)
    # a chain of 60 words, each followed by its neighbours
    sentences = [(generator.integers(60) + np.cumsum(generator.integers(-2, 3, 12))) % 60 for _ in range(1500)]
    held = [(generator.integers(60) + np.cumsum(generator.integers(-2, 3, 12))) % 60 for _ in range(300)]
    centre, context = pairs(np.repeat(np.arange(300), 12), 3, np.random.default_rng(5))
    words = np.concatenate(held)
    negatives = np.random.default_rng(6).integers(0, 60, (len(centre), 5))

    def loss(vectors, outputs):
        v, u = vectors[words[centre]], outputs[words[context]]
        against = np.einsum("nkd,nd->nk", outputs[negatives], v)
        return float((np.logaddexp(0, -(v * u).sum(1)) + np.logaddexp(0, against).sum(1)).mean())

    ours, theirs = [], []
    for seed in range(3):
        model = Word2Vec(dim=16, window=3, epochs=5, subsample=0, power=0.0, seed=seed).fit(sentences, 60)
        ours.append(loss(model.vectors, model.context))
        peer = gensim.Word2Vec(
            [[str(w) for w in s] for s in sentences], vector_size=16, window=3, epochs=5, sample=0, ns_exponent=0.0,
            sg=1, negative=5, min_count=1, seed=seed, workers=1, alpha=0.025, min_alpha=2.5e-6,
        )  # fmt: skip
        order = [peer.wv.key_to_index[str(w)] for w in range(60)]
        theirs.append(loss(peer.wv.vectors[order], peer.syn1neg[order]))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.05)


def test_settings_are_mikolovs_unless_told():
    sentences = two_topics(40)
    plain = Word2Vec(dim=3).fit(sentences, 20)
    told = Word2Vec(3, 5, 5, 0.75, 1e-3, 0.025, 5, "skipgram", "negative", 0).fit(sentences, 20)
    assert np.array_equal(plain.vectors, told.vectors) and plain.loss_curve == told.loss_curve
    assert Word2Vec().dim == 64 and plain.vectors.dtype == plain.context.dtype == np.float32
    start = Word2Vec(dim=50, epochs=1, lr=1e-12).fit(sentences, 20).vectors
    # Uniform on +- 1 / (2 dim).
    assert np.abs(start).max() <= 0.01 and start.std() == pytest.approx(0.02 / 12**0.5, rel=0.05)
    assert abs(start.mean()) < 1e-3


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: Word2Vec(dim=0), "dim is 0"),
        (lambda: Word2Vec(dim=0, window=0), "dim is 0; give at least 1"),
        (lambda: Word2Vec(window=0, lr=0.0), "window is 0; give at least 1"),
        (lambda: Word2Vec(negatives=0), "negatives is 0"),
        (lambda: Word2Vec(epochs=0), "epochs is 0"),
        (lambda: Word2Vec(softmax="plain"), "by 'plain': use skipgram or cbow, negative or hierarchical"),
        (lambda: Word2Vec().fit([np.array([0, -1])], 5), "hold the word -1 of a vocabulary of 5"),
        (lambda: Word2Vec(lr=0.0), "lr is 0.0"),
        (lambda: Word2Vec(subsample=-1.0), "subsample -1.0"),
        (lambda: Word2Vec(architecture="glove"), "architecture 'glove'"),
        (lambda: Word2Vec().fit([np.array([0, 5])], 5), "hold the word 5 of a vocabulary of 5"),
        (lambda: Word2Vec().fit([np.array([0]), np.array([1])], 5), "none has two words"),
        (lambda: Word2Vec().fit([], 5), "none has two words"),
    ],
)
def test_impossible_requests_are_refused(call, told):
    with pytest.raises(InputError, match=told):
        call()


def test_targets_of_the_tree_are_its_ways():
    model = Word2Vec(dim=2, epochs=1, softmax="hierarchical").fit(two_topics(20), 20)
    found = model.targets(np.array([4, 0]), np.random.default_rng(0))
    assert all(np.array_equal(a, b[[4, 0]]) for a, b in zip(found, model.tree, strict=True)) and isinstance(
        found, Targets
    )


@pytest.mark.parametrize("softmax", ["negative", "hierarchical"])
def test_the_loss_is_the_mean_over_the_targets_and_none_where_no_pair_is_left(softmax):
    sentences = [np.array([0, 1, 2, 3, 0, 1])] * 3
    still = Word2Vec(dim=2, lr=1e-12, epochs=2, subsample=0, softmax=softmax).fit(sentences, 4)
    assert still.loss_curve == pytest.approx([np.log(2)] * 2, abs=1e-6)  # outputs start as zeros
    bare = Word2Vec(dim=2, epochs=2, subsample=1e-30, softmax=softmax).fit(sentences, 4)
    assert np.isnan(bare.loss_curve).tolist() == [True, True]


@pytest.mark.parametrize("window", [1, 3, 4, 9])
def test_a_window_wider_than_the_sentence_holds_all_of_it(window):
    centre, context = pairs(np.zeros(4, int), window, np.random.default_rng(0))
    reach = np.random.default_rng(0).integers(1, window + 1, 4)
    expected = {(i, j) for i in range(4) for j in range(4) if 0 < abs(i - j) <= reach[i]}
    assert set(zip(centre.tolist(), context.tolist(), strict=True)) == expected
    assert [len(part) for part in pairs(np.zeros(0, int), window, np.random.default_rng(0))] == [0, 0]
