"""Rounds recall what lies in domains that the classifier points to, and no more than people agree with."""

import numpy as np
import pytest

from winnow.curate.code_recall import RecallClassifier, recall_rounds
from winnow.errors import InputError
from winnow.randomness import numpy_generator


def pages_with(words, number, seed):
    """Pages of 30 words, a third of them of the subject."""
    generator = numpy_generator(seed, "pages")
    return [
        np.concatenate([generator.choice(words, 10), generator.integers(100, 200, 20)]).astype(np.int64)
        for _ in range(number)
    ]


# Two domains are about the subject: the second one shares half its words with the first. The third is not.
PAGES = pages_with(range(8), 30, 0) + pages_with(range(4, 12), 30, 1) + pages_with(range(50, 60), 300, 2)
DOMAINS = ["a"] * 30 + ["b"] * 30 + ["c"] * 300
PREFIXES = ["a/0"] * 30 + ["b/0"] * 20 + ["b/1"] * 10 + ["c/0"] * 300


def test_the_classifier_tells_pages_by_their_words_and_pairs_of_words():
    labels = np.arange(360) < 30
    scores = RecallClassifier().fit(PAGES, labels).score(PAGES)
    assert ((scores > 0.5) == labels).all() and ((scores >= 0) & (scores <= 1)).all()
    # The same words in another order: only pairs differ.
    forwards, backwards = ([np.tile(order, 5) for _ in range(6)] for order in ([1, 2, 3], [3, 2, 1]))
    scores = RecallClassifier().fit(forwards + backwards, np.arange(12) < 6).score([forwards[0], backwards[0]])
    assert scores[0] > 0.5 > scores[1]
    with pytest.raises(InputError, match="labels: all 3 are True; give pages of both kinds"):
        RecallClassifier().fit(PAGES[:3], np.ones(3, bool))


def test_rounds_reach_the_second_domain_through_the_first():
    asked = []

    def about(prefix):
        asked.append(prefix)
        return prefix in ("a/0", "b/0")

    found = recall_rounds(PAGES, DOMAINS, PREFIXES, range(6), about, rounds=3)
    assert [row["round"] for row in found] == [1, 2, 3]
    assert found[0]["seed"] == 6 and found[0]["recalled"][:30].sum() > 6
    assert found[-1]["domains"] == ["a", "b"] and set(asked) == {"a/0", "b/0", "b/1"}
    assert found[-1]["seed"] == 50  # all pages of the prefixes that were accepted, recalled or not
    assert found[-1]["recalled"][:50].all() and not found[-1]["recalled"][60:].any()
    scores = found[0]["classifier"].score(PAGES)
    assert found[0]["recalled"].tolist() == [i < 6 or score > 0.5 for i, score in enumerate(scores)]


def test_what_people_refuse_does_not_join_and_a_whole_pool_ends_the_rounds():
    refused = recall_rounds(PAGES, DOMAINS, PREFIXES, range(6), lambda prefix: False, rounds=3)
    assert [row["seed"] for row in refused] == [6, 6, 6]
    whole = recall_rounds(PAGES[:30], DOMAINS[:30], PREFIXES[:30], range(20), lambda _: True, rounds=9)
    assert len(whole) == 1


def test_a_domain_is_looked_through_above_the_share_alone():
    never = recall_rounds(PAGES, DOMAINS, PREFIXES, range(6), lambda _: True, rounds=1, domain_share=0.99)
    share = never[0]["recalled"][:30].mean()
    assert never[0]["domains"] == (["a"] if share > 0.99 else [])
    first = recall_rounds(PAGES, DOMAINS, PREFIXES, range(6), lambda _: True, rounds=1, domain_share=0.1)
    assert "a" in first[0]["domains"]


def test_unless_told_there_are_three_rounds_and_a_tenth_of_a_domain_is_enough():
    plain, told = (
        recall_rounds(PAGES, DOMAINS, PREFIXES, range(6), lambda prefix: prefix == "a/0", **options)
        for options in ({}, {"rounds": 3, "domain_share": 0.1, "seed": 0})
    )
    assert len(plain) == 3 and RecallClassifier().buckets == 65_536
    for one, other in zip(plain, told, strict=True):
        assert np.array_equal(one.pop("recalled"), other.pop("recalled"))
        assert np.array_equal(one.pop("classifier").score(PAGES), other.pop("classifier").score(PAGES)) and one == other


def test_the_classifier_is_the_plain_balanced_regression():
    found = RecallClassifier().fit(PAGES[:40], np.arange(40) < 30).model.get_params()
    told = {"C": 1.0, "class_weight": "balanced", "solver": "liblinear", "random_state": 0}
    assert {name: found[name] for name in told} == told


def test_a_pair_is_told_from_the_token_it_ends_with_and_from_its_neighbours():
    # Also where its first token is number 0, of which a product would say nothing.
    bags = [set(RecallClassifier()._bags([np.array(pair)]).indices) for pair in ([0, 7], [7, 0], [1, 7], [0, 8])]
    for bag, pair in zip(bags, ([0, 7], [7, 0], [1, 7], [0, 8]), strict=True):
        assert len(bag) == 3 and set(pair) < bag
    assert len(set.union(*bags) - {0, 1, 7, 8}) == 4


def test_any_recalled_page_is_enough_where_the_share_is_nothing():
    found = recall_rounds(PAGES, DOMAINS, PREFIXES, range(6), lambda _: False, rounds=1, domain_share=0.0)
    assert found[0]["domains"] == [name for name in "abc" if found[0]["recalled"][np.array(DOMAINS) == name].any()]


def test_a_page_is_the_set_of_its_tokens_and_neighbours():
    bags = RecallClassifier()._bags([np.array([5, 7, 5, 7, 7]), np.array([], np.int64), np.array([9])])
    assert bags.shape == (3, 65_536) and set(bags.data) == {1.0}
    # 5, 7, and the pairs 5 7, 7 5, 7 7; nothing; 9.
    assert np.diff(bags.indptr).tolist() == [5, 0, 1] and {5, 7} < set(bags.indices[:5]) and bags.indices[5] == 9


@pytest.mark.parametrize(
    ("seed_pages", "share", "words"),
    [
        ([], 0.1, "seed: has 0 of 360 pages"),
        (range(360), 0.1, "seed: has 360 of 360"),
        ([0], 1.0, "domain_share: is 1"),
        ([0], -0.01, "domain_share: is -0.01; give at least 0 and less than 1"),
    ],
)
def test_impossible_requests_are_refused(seed_pages, share, words):
    with pytest.raises(InputError, match=words):
        recall_rounds(PAGES, DOMAINS, PREFIXES, seed_pages, lambda _: True, domain_share=share)
