"""Scores of clusters against brute force over matchings and sklearn."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, homogeneity_completeness_v_measure

from winnow.errors import InputError
from winnow.evaluate.clusterers import entropy
from winnow.evaluate.clustering import clustering_scores, contingency, kmeans_objective, matched_accuracy

labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(labels)
def test_accuracy_is_the_best_over_all_matchings(pairs):
    y, found = np.array(pairs).T
    best = max(np.mean([order[f] == c for c, f in pairs]) for order in permutations(range(4)))
    assert matched_accuracy(y, found) == pytest.approx(best)


def test_members_of_clusters_beyond_the_classes_are_wrong():
    assert matched_accuracy(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2])) == 0.75
    assert matched_accuracy(np.array([0, 1, 2, 2]), np.array([7, 7, 7, 7])) == 0.5


@settings(max_examples=30, deadline=None)
@given(labels, st.permutations([10, 20, 30, 40]))
def test_names_of_clusters_do_not_matter(pairs, names):
    y, found = np.array(pairs).T
    assert clustering_scores(y, found) == pytest.approx(clustering_scores(y, np.array(names)[found]))


def test_scores_are_sklearns_and_a_perfect_clustering_scores_one():
    generator = np.random.default_rng(0)
    y, found = generator.integers(0, 3, 50), generator.integers(0, 4, 50)
    scores = clustering_scores(y, found)
    homogeneity, completeness, v = homogeneity_completeness_v_measure(y, found)
    assert scores["ari"] == adjusted_rand_score(y, found)
    assert (scores["homogeneity"], scores["completeness"]) == (homogeneity, completeness)
    assert scores["nmi"] == pytest.approx(v)  # the v-measure is mutual information over the mean of both entropies
    assert scores["ami"] < scores["nmi"]
    assert set(clustering_scores(y, (y + 1) % 3).values()) == {1.0}


def test_the_table_of_clusters_and_classes_counts_rows():
    assert contingency(np.array([5, 5, 9]), np.array([1, 0, 0])).tolist() == [[1, 1], [1, 0]]


def test_the_objective_is_sklearns_inertia_also_over_blocks():
    x = np.random.default_rng(0).normal(size=(2500, 3))
    found = KMeans(4, n_init=1, random_state=0).fit(x)
    assert kmeans_objective(x, found.cluster_centers_) == pytest.approx(found.inertia_)
    assert kmeans_objective(np.array([[0.0], [3.0]]), np.array([[1.0], [5.0]])) == 5.0


def test_entropy_is_one_for_equal_clusters_and_zero_for_a_collapse():
    assert entropy(np.array([0, 1, 2, 3]), 4) == pytest.approx(1)
    assert entropy(np.array([2, 2]), 4) == 0
    assert entropy(np.array([0, 1]), 4) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clustering_scores(np.zeros(3), np.zeros(2)), "two vectors of one length"),
        (lambda: clustering_scores(np.zeros(0), np.zeros(0)), "two vectors of one length"),
        (lambda: kmeans_objective(np.zeros((3, 2)), np.zeros((2, 3))), "as many columns"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message):
        call()
