"""Signatures estimate Jaccard similarity, bands collide as they should, components are those of brute force."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.workloads.minhash import (
    Shingles,
    candidate_pairs,
    collision_probability,
    components,
    jaccard,
    lsh_components,
    minhash,
    near_duplicates,
    shingles,
    words,
)


def planted(sets):
    values = [np.unique(np.asarray(sorted(s), np.uint64)) for s in sets]
    return Shingles(np.concatenate(values), np.concatenate([[0], np.cumsum([len(v) for v in values])]))


def pair_of(similarity, size, generator):
    """Two sets of random numbers of a similarity."""
    common = round(similarity * size)
    numbers = generator.integers(0, 2**64, size, dtype=np.uint64)
    cut = common + (size - common) // 2
    return numbers[:cut], np.concatenate([numbers[:common], numbers[cut:]])


def union_find(count, pairs):
    parent = list(range(count))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for a, b in pairs:
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    return [root(i) for i in range(count)]


def test_words_are_names_numbers_and_signs():
    assert words("def f(x_1):\n\treturn x_1*2.5  # ä") == [
        "def", "f", "(", "x_1", ")", ":", "return", "x_1", "*", "2", ".", "5", "#", "ä",
    ]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=9), min_size=1, max_size=6), st.integers(1, 6))
def test_similarity_is_that_of_the_sets_of_token_runs(documents, size):
    def runs(document):
        size_here = min(size, len(document))
        return {tuple(document[i : i + size_here]) for i in range(len(document) - size_here + 1)} if document else set()

    sets = [runs(document) for document in documents]
    pairs = np.array([(i, j) for i in range(len(sets)) for j in range(len(sets))])
    expected = [len(sets[i] & sets[j]) / len(sets[i] | sets[j]) if sets[i] | sets[j] else 1.0 for i, j in pairs]
    found = shingles(documents, size)
    assert jaccard(found, pairs).tolist() == expected
    assert np.diff(found.ends).tolist() == [len(s) for s in sets]


def test_order_of_tokens_counts():
    found = shingles([["a", "b", "c"], ["b", "a", "c"]], 2)
    assert jaccard(found, np.array([[0, 1]])) == 0


def test_hashes_are_the_same_in_every_process():
    code = (
        "from winnow.workloads.minhash import *; f = shingles([words('a b c d e f')]); print(minhash(f, 4, 7).tolist())"
    )
    told = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": h}, capture_output=True, text=True).stdout
        for h in ("1", "2")
    }
    assert told == {f"{minhash(shingles([['x'], words('a b c d e f')]), 4, 7)[1:].tolist()}\n"}


def test_agreement_of_signatures_estimates_similarity():
    generator = np.random.default_rng(0)
    n = 256
    truth = generator.random(200)
    found = planted([s for t in truth for s in pair_of(t, 400, generator)])
    signatures = minhash(found, n, seed=3)
    exact = jaccard(found, np.arange(400).reshape(-1, 2))
    np.testing.assert_allclose(exact, truth, atol=0.002)
    estimate = (signatures[::2] == signatures[1::2]).mean(axis=1)
    assert np.abs(estimate - exact).mean() <= 1 / np.sqrt(n)
    # Binomial: the bias over 200 pairs of 256 trials has a standard error of at most .0023.
    assert abs((estimate - exact).mean()) < 4 * np.sqrt((exact * (1 - exact) / n).sum()) / 200


@pytest.mark.parametrize(("bands", "rows"), [(32, 4), (16, 8), (4, 32), (16, 128)])
def test_pairs_collide_as_often_as_the_formula_says(bands, rows):
    generator = np.random.default_rng(1)
    knee = (1 / bands) ** (1 / rows)
    trials = 400
    for similarity in (knee - 0.15, knee, (1 + knee) / 2):
        found = planted([s for _ in range(trials) for s in pair_of(similarity, 400, generator)])
        pairs = np.arange(2 * trials).reshape(-1, 2)
        exact = jaccard(found, pairs)
        hit = {tuple(pair) for pair in candidate_pairs(minhash(found, bands * rows, seed=5), bands, rows)}
        # Pairs of one trial each are independent but for the hash functions they share, which widens the spread.
        share = np.mean([tuple(pair) in hit for pair in pairs])
        expected = collision_probability(exact, bands, rows).mean()
        assert abs(share - expected) < 5 * np.sqrt(0.25 / trials)


def test_candidates_are_all_pairs_that_agree_in_a_band():
    generator = np.random.default_rng(2)
    signatures = generator.integers(0, 3, (40, 7), dtype=np.uint32)
    expected = [
        (i, j)
        for i in range(40)
        for j in range(i + 1, 40)
        if any((signatures[i, b : b + 2] == signatures[j, b : b + 2]).all() for b in (0, 2, 4))
    ]
    assert candidate_pairs(signatures, 3, 2).tolist() == [list(pair) for pair in expected]
    assert lsh_components(signatures, 3, 2).tolist() == union_find(40, expected)


def test_components_are_those_datasketch_finds_from_the_same_signatures():
    datasketch = pytest.importorskip("datasketch")
    generator = np.random.default_rng(3)
    base = [[str(t) for t in generator.integers(0, 500, 120)] for _ in range(40)]
    documents = []
    for document in base:
        for edits in (0, 1, 4, 30):
            changed = list(document)
            for at in generator.integers(0, 120, edits):
                changed[at] = "new"
            documents.append(changed)
    signatures = minhash(shingles(documents), 128, seed=1)
    index = datasketch.MinHashLSH(num_perm=128, params=(16, 8))
    peers = [datasketch.MinHash(num_perm=128, hashvalues=row.astype(np.uint64), scheme="legacy") for row in signatures]
    for key, peer in enumerate(peers):
        index.insert(key, peer)
    pairs = [(i, j) for i, peer in enumerate(peers) for j in index.query(peer) if i != j]
    found = lsh_components(signatures, 16, 8)
    assert found.tolist() == union_find(len(documents), pairs)
    assert 40 <= len(set(found.tolist())) < len(documents)


def test_few_hashes_and_exact_similarity_decide_as_sixteen_bands_of_128_rows_away_from_their_knee():
    """2,048 hashes find a pair of .9975 for certain, and one of .93 in one of 700 cases; the knee is .9786."""
    generator = np.random.default_rng(4)
    documents = []
    for document in ([str(t) for t in generator.integers(0, 10**6, 2000)] for _ in range(20)):
        for edits in (0, 1, 1, 100):
            changed = list(document)
            for at in generator.integers(0, 2000, edits):
                changed[at] = f"new {at}"
            documents.append(changed)
    found = shingles(documents)
    groups = near_duplicates(found, (1 / 16) ** (1 / 128))
    assert groups.tolist() == lsh_components(minhash(found, 2048, seed=1), 16, 128).tolist()
    assert len(set(groups.tolist())) == 40  # a copy and two with a word changed, and one with a hundred


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.3, 1.0))
def test_near_duplicates_are_those_of_brute_force_and_do_not_depend_on_order(seed, threshold):
    generator = np.random.default_rng(seed)
    documents = [[str(t) for t in generator.integers(0, 6, generator.integers(1, 12))] for _ in range(30)]
    found = shingles(documents, 2)
    # So many bands that a pair above .3 is missed with a chance below 1e-19.
    label = near_duplicates(found, threshold, bands=128, rows=1)
    pairs = np.array([(i, j) for i in range(30) for j in range(i + 1, 30)])
    assert label.tolist() == union_find(30, pairs[jaccard(found, pairs) >= threshold])
    order = generator.permutation(30)
    again = near_duplicates(shingles([documents[i] for i in order], 2), threshold, bands=128, rows=1)
    together = label[order][:, None] == label[order]
    assert (together == (again[:, None] == again)).all()


def test_texts_without_tokens_and_no_texts_are_taken():
    found = shingles([[], ["a"], []])
    assert len(found) == 3 and np.diff(found.ends).tolist() == [0, 1, 0]
    assert (minhash(found, 8)[0] == 2**32 - 1).all()
    assert near_duplicates(found, 0.9).tolist() == [0, 1, 0]
    assert near_duplicates(shingles([]), 0.9).tolist() == []
    assert components(0, np.empty((0, 2), np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("call", "words_told"),
    [
        (lambda: shingles([["a"]], 0), "shingle: is 0"),
        (lambda: minhash(shingles([["a"]]), 0), "hashes: is 0"),
        (lambda: lsh_components(np.zeros((2, 8), np.uint32), 3, 3), "3 bands of 3 rows take 9 hashes of 8"),
        (lambda: near_duplicates(shingles([["a"]]), 0.0), "near_duplicate_similarity: is 0"),
        (lambda: near_duplicates(shingles([["a"]]), 1.1), "near_duplicate_similarity: is 1.1"),
    ],
)
def test_impossible_settings_are_refused(call, words_told):
    with pytest.raises(InputError, match=words_told):
        call()
