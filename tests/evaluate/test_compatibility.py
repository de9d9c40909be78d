"""Compatibility scores on matrices made by hand, and search against a loop over pairs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from winnow.errors import InputError
from winnow.evaluate.compatibility import (
    average_accuracy,
    average_compatibility,
    compatibility_matrix,
    identification,
    inequality_rates,
    reindexed_accuracy,
)

NAN = math.nan


def cloud(seed, n=40, d=6):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)), generator.integers(0, 4, n)


def test_average_compatibility_counts_strict_rises_over_the_old_model_alone():
    matrix = np.array([[0.5, NAN, NAN], [0.6, 0.4, NAN], [0.5, 0.3, 0.9]])
    # (1,0) rises, (2,0) ties, (2,1) falls.
    assert average_compatibility(matrix) == pytest.approx(1 / 3)


def test_average_accuracy_is_the_mean_of_the_lower_triangle_and_counts_zeros():
    matrix = np.array([[0.5, 9.0, 9.0], [0.0, 0.4, 9.0], [0.5, 0.3, 0.7]])
    assert average_accuracy(matrix) == pytest.approx(2.4 / 6)
    # Every gallery indexed anew: one times .5, twice .4, three times .7.
    assert reindexed_accuracy(matrix) == pytest.approx((0.5 + 2 * 0.4 + 3 * 0.7) / 6)


def test_one_model_has_no_compatibility():
    assert math.isnan(average_compatibility(np.array([[0.7]])))
    assert average_accuracy(np.array([[0.7]])) == 0.7


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_single_nearest_neighbours_are_sklearns(seed):
    (query, q), (gallery, g) = cloud(seed), cloud(seed + 1)
    peer = KNeighborsClassifier(1, metric="cosine").fit(gallery, g)
    assert identification(query, gallery, q, g, "none") == pytest.approx((peer.predict(query) == q).mean())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_templates_are_means_of_unit_features(seed):
    (query, q), (gallery, g) = cloud(seed), cloud(seed + 1)
    templates = {}
    for label in set(g.tolist()):
        rows = [row / math.sqrt((row**2).sum()) for row in gallery[g == label]]
        templates[label] = sum(rows) / len(rows)
    hits = 0
    for row, label in zip(query, q, strict=True):
        cosines = {name: row @ t / np.linalg.norm(row) / np.linalg.norm(t) for name, t in templates.items()}
        hits += max(cosines, key=cosines.get) == label
    assert identification(query, gallery, q, g) == pytest.approx(hits / len(q))


def test_lengths_of_features_do_not_matter_and_a_feature_of_no_length_finds_the_first_entry():
    (query, q), (gallery, g) = cloud(0), cloud(1)
    stretched = gallery * np.linspace(0.1, 10, len(g))[:, None]
    assert identification(query * 7, stretched, q, g) == identification(query, gallery, q, g)
    assert identification(np.zeros((2, 6)), gallery, np.array([g[0], g[0]]), g, "none") == 1.0
    assert identification(np.zeros((2, 6)), gallery, np.array([0, 1]), g) == 0.5  # class 0 comes first


def test_the_matrix_has_queries_in_rows_and_galleries_in_columns():
    features = [cloud(seed)[0] for seed in range(3)]
    galleries = [cloud(seed + 10)[0] for seed in range(3)]
    q, g = cloud(0)[1], cloud(1)[1]
    matrix = compatibility_matrix(features, galleries, q, g, "none")
    assert np.isnan(matrix[np.triu_indices(3, 1)]).all()
    for t in range(3):
        for k in range(t + 1):
            assert matrix[t, k] == identification(features[t], galleries[k], q, g, "none")
    templates = compatibility_matrix(features, galleries, q, g)
    assert templates[2, 1] == identification(features[2], galleries[1], q, g, "mean")


def rates_by_hand(old, new, labels):
    def distance(a, b):
        return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    same, different = [], []
    for a in range(len(labels)):
        for b in range(len(labels)):
            now, before = distance(new[a], old[b]), distance(old[a], old[b])
            if a == b:
                continue
            if labels[a] == labels[b]:
                same.append(now <= before)
            else:
                different.append(now >= before)
    return np.mean(same), np.mean(different)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_inequality_rates_are_those_of_all_pairs(seed):
    (old, labels), (new, _) = cloud(seed, 12), cloud(seed + 1, 12)
    assert inequality_rates(old, new, labels) == pytest.approx(rates_by_hand(old, new, labels))


def test_a_model_is_compatible_with_itself_and_rates_without_pairs_are_not_defined():
    old, labels = cloud(0)
    assert inequality_rates(old, old, labels) == (1.0, 1.0)
    same, different = inequality_rates(old[:2], old[:2], np.array([0, 1]))
    assert math.isnan(same) and different == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: identification(x, x[:, :3], y, y), "query features have 6 dimensions, the gallery's 3"),
        (lambda x, y: identification(x[:0], x, y[:0], y), r"query features have shape \(0, 6\) for 0 labels"),
        (lambda x, y: identification(x, x, y, y[:-1]), "gallery features have shape .* for 39 labels"),
        (lambda x, y: identification(x[0], x, y, y), "query features have shape"),
        (lambda x, y: identification(x * np.inf, x, y, y), "a query feature is NaN or infinite"),
        (lambda x, y: compatibility_matrix([x], [x, x], y, y), "1 models gave queries and 2 a gallery"),
        (lambda x, y: inequality_rates(x, x[:, :3], y), "old features are"),
        (lambda x, y: average_accuracy(x), "must be square"),
        (lambda x, y: average_accuracy(np.zeros((0, 0))), "must be square"),
        (lambda x, y: average_compatibility(np.array([[1.0, 2.0], [NAN, 1.0]])), "not finite below its diagonal"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message):
        call(*cloud(3))
