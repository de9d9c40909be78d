from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.evaluate.feature_survival import (
    FEATURE_SCHEMA,
    SUMMARY,
    activation_correlation,
    chance_directions,
    cosine_similarity,
    match,
    match_features,
    survival,
)


def generator(seed=0):
    return np.random.default_rng(seed)


def decoder(m=40, d=16, seed=0):
    return generator(seed).normal(size=(m, d))


def codes(n=300, m=40, seed=0):
    values = generator(100 + seed).normal(size=(n, m))
    return np.maximum(values - 1, 0)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 50))
def test_the_matching_has_the_largest_sum_of_all(m_a, m_b, seed):
    similarity = generator(seed).normal(size=(m_a, m_b))
    matching = match(similarity)
    wide = similarity if m_a <= m_b else similarity.T
    best = max(sum(wide[i, j] for i, j in enumerate(order)) for order in permutations(range(max(m_a, m_b)), len(wide)))
    assert matching.similarity.sum() == pytest.approx(best)
    assert len(set(matching.first)) == len(set(matching.second)) == min(m_a, m_b)
    assert matching.similarity.tolist() == similarity[matching.first, matching.second].tolist()


def test_a_permuted_and_scaled_decoder_is_matched_back():
    a, order = decoder(), generator(1).permutation(40)
    matching = match_features(a, 3 * a[order])
    assert (order[matching.second] == matching.first).all()
    assert matching.similarity == pytest.approx(np.ones(40))
    # An opposite direction is another feature, not the same one.
    assert match_features(a, -a).similarity.max() < 0.99


def test_cosines_and_correlations_are_numpys():
    a, b = decoder(5, seed=0), decoder(7, seed=1)
    by_hand = [[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a]
    assert cosine_similarity(a, b) == pytest.approx(np.array(by_hand))
    x, y = codes(m=5), codes(m=7, seed=1)
    assert activation_correlation(x, y) == pytest.approx(np.corrcoef(x.T, y.T)[:5, 5:])


@pytest.mark.parametrize(("first", "second"), [(0.04, 0.03), (0.04, 0.6), (0.6, 0.04)])
def test_correlations_of_few_active_entries_are_numpys(first, second):
    x, y = (
        generator(i).exponential(5, (400, 6)) * (generator(9 + i).random((400, 6)) < s)
        for i, s in ((0, first), (1, second))
    )
    x[:, 2] = 0
    x[0] = 1.0
    assert activation_correlation(x.astype("f4"), y) == pytest.approx(np.corrcoef(x.astype("f4").T, y.T)[:6, 6:])


def test_a_feature_of_few_that_is_the_same_in_all_rows_correlates_with_nothing():
    x = np.zeros((50, 40))
    x[:, 1], x[3, 0] = 0.1, 2.0
    correlation = activation_correlation(x, x)
    assert not correlation[1:].any() and correlation[0, 0] == pytest.approx(1)


def test_a_feature_that_never_changes_correlates_with_nothing():
    x = codes(m=3)
    x[:, 1] = 0.1
    correlation = activation_correlation(x, x)
    assert correlation[1].tolist() == correlation[:, 1].tolist() == [0, 0, 0]
    assert correlation[0, 0] == pytest.approx(1)


def test_chance_directions_have_unit_length_and_the_decoders_covariance():
    a = decoder(30, 4) * np.array([5.0, 1.0, 1.0, 0.0]) + np.array([2.0, 0.0, 0.0, 0.0])
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    # Many rows with the same covariance, so that the sample's own is close.
    drawn = chance_directions(np.tile(a, (40, 1)), seed=0)
    assert np.linalg.norm(drawn, axis=1) == pytest.approx(np.ones(1200))
    assert (drawn[:, 3] == 0).all()
    gaussian = generator(5).multivariate_normal(np.zeros(4), unit.T @ unit / 30, 100_000)
    gaussian /= np.linalg.norm(gaussian, axis=1, keepdims=True)
    # Four standard errors of a mean over 1,200 rows of squares between 0 and 1.
    assert drawn.T @ drawn / 1200 == pytest.approx(gaussian.T @ gaussian / 100_000, abs=0.05)
    assert not np.array_equal(chance_directions(a, 0), chance_directions(a, 1))
    assert not np.array_equal(chance_directions(a, 0), chance_directions(a, 0, draw=1))
    assert np.array_equal(chance_directions(a, 0), chance_directions(a, 0))


@pytest.mark.parametrize("by", ["decoder", "activation"])
def test_all_features_survive_in_a_permuted_copy(by):
    order = generator(2).permutation(40)
    found = survival(decoder(), decoder()[order], codes(), codes()[:, order], by=by)
    assert found.summary["survival"] == 1 and found.summary["similarity"] == pytest.approx(1)
    rows = found.features.to_pylist()
    assert [order[row["match"]] for row in rows] == [row["feature"] for row in rows] == list(range(40))
    assert all(row["survives"] and row["cosine"] == pytest.approx(1) for row in rows)
    assert all(row["correlation"] == pytest.approx(1) for row in rows)
    assert [row["density"] for row in rows] == pytest.approx((codes() > 0).mean(axis=0).tolist())


@pytest.mark.parametrize("by", ["decoder", "activation"])
def test_hardly_a_feature_survives_in_an_unrelated_dictionary(by):
    found = survival(decoder(200), decoder(200, seed=1), codes(m=200), codes(m=200, seed=1), by=by)
    # One in a hundred by construction; up to 5 % is within its spread over 200 features.
    assert found.summary["survival"] <= 0.05 and found.summary["chance_survival"] <= 0.05
    assert found.summary["similarity"] == pytest.approx(found.summary["chance_similarity"], abs=0.05)
    assert all(
        r["survives"] == (r["cosine" if by == "decoder" else "correlation"] > found.summary["threshold"])
        for r in found.features.to_pylist()
    )


def test_half_a_dictionary_survives_where_half_is_kept():
    mixed, mixed_codes = decoder(200), codes(m=200)
    mixed[:100], mixed_codes[:, :100] = decoder(100, seed=9), codes(m=100, seed=9)
    for by in ("decoder", "activation"):
        found = survival(decoder(200), mixed, codes(m=200), mixed_codes, by=by)
        survives = np.array(found.features["survives"])
        assert survives[100:].all() and survives[:100].mean() <= 0.05
        assert found.summary["survival"] == pytest.approx(survives.mean())


def test_the_two_ways_of_matching_use_their_own_evidence():
    order = generator(3).permutation(40)
    by_decoder = survival(decoder(), decoder(), codes(), codes()[:, order])
    by_activation = survival(decoder(), decoder(), codes(), codes()[:, order], by="activation")
    assert by_decoder.features["match"].to_pylist() == list(range(40))
    assert [order[j] for j in by_activation.features["match"].to_pylist()] == list(range(40))
    assert by_decoder.summary["similarity"] == pytest.approx(1)
    assert by_activation.summary["similarity"] == pytest.approx(1)


def test_dead_features_are_counted_and_left_out():
    x, y = codes(), codes()
    x[:, [3, 7]], y[:, [5]] = 0, 0
    a, b = decoder(), decoder()
    a[3], b[5] = 0, 0  # a dead feature's direction may be anything, even nothing
    found = survival(a, b, x, y)
    assert (found.summary["live"], found.summary["dead"], found.summary["dead_other"]) == (38, 2, 1)
    rows = found.features.to_pylist()
    assert [row["feature"] for row in rows if row["dead"]] == [3, 7]
    assert all(rows[i]["match"] is rows[i]["cosine"] is rows[i]["correlation"] is None for i in (3, 7))
    assert all(row["match"] != 5 for row in rows) and not any(rows[i]["survives"] for i in (3, 7))
    assert rows[3]["density"] == 0
    assert rows[0]["match"] == 0 and rows[39]["match"] == 39
    assert found.summary["survival"] == sum(row["survives"] for row in rows) / 38


def test_features_beyond_the_others_number_stay_without_a_match():
    found = survival(decoder(), decoder()[:10], codes(), codes()[:, :10])
    rows = found.features.to_pylist()
    assert sum(row["match"] is None for row in rows) == 30
    assert found.summary["survival"] == pytest.approx(10 / 40)
    assert found.summary["chance_survival"] <= 0.05


@pytest.mark.parametrize("dead_side", ["first", "second"])
def test_without_live_features_nothing_survives(dead_side):
    silent = np.zeros((300, 40))
    x, y = (silent, codes()) if dead_side == "first" else (codes(), silent)
    found = survival(decoder(), decoder(), x, y)
    assert [found.summary[name] for name in SUMMARY[:5]] == [None] * 5
    assert found.features.schema == FEATURE_SCHEMA and found.features.num_rows == 40
    assert not any(found.features["survives"].to_pylist()) and found.features["match"].null_count == 40
    assert found.features["dead"].to_pylist() == [dead_side == "first"] * 40


def test_the_threshold_is_the_quantile_of_pooled_chance_matches():
    a, b = decoder(), decoder(seed=1)
    for draws, quantile in [(1, 0.5), (3, 0.99)]:
        pooled = [match_features(a, chance_directions(b, 4, i)).similarity for i in range(draws)]
        found = survival(a, b, codes(), codes(), chance_draws=draws, chance_quantile=quantile, seed=4)
        assert found.summary["threshold"] == pytest.approx(np.quantile(np.concatenate(pooled), quantile))
        held_out = match_features(a, chance_directions(b, 4, draws)).similarity
        assert found.summary["chance_survival"] == np.mean(held_out > found.summary["threshold"])
    assert survival(a, b, codes(), codes(), seed=4).summary == found.summary


@pytest.mark.parametrize("by", ["decoder", "activation"])
@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_results_do_not_depend_on_the_unit_of_activations(by, scale):
    arguments = decoder(), decoder(seed=1), codes(), codes(seed=1)
    found, scaled = survival(*arguments, by=by), survival(*arguments[:2], *(c * scale for c in arguments[2:]), by=by)
    assert scaled.summary == pytest.approx(found.summary)
    assert scaled.features["match"].equals(found.features["match"])


def test_the_seed_and_the_draw_are_0_where_nothing_is_asked():
    arguments = decoder(), decoder(seed=1), codes(), codes(seed=1)
    assert survival(*arguments).summary == survival(*arguments, seed=0).summary
    assert np.array_equal(chance_directions(decoder(), 5), chance_directions(decoder(), 5, draw=0))


def test_a_zero_row_is_named_by_its_number():
    a = decoder()
    a[7] = 0
    with pytest.raises(InputError, match=r"second decoder has a zero row \(7\)"):
        match_features(decoder(), a)


@pytest.mark.parametrize("by", ["decoder", "activation"])
def test_results_follow_the_seed(by):
    first, again, other = (
        survival(decoder(), decoder(seed=1), codes(), codes(seed=1), by=by, seed=s).summary["threshold"]
        for s in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((decoder(), decoder(d=8), codes(), codes()), "16 and 8 dimensions"),
        ((decoder(), decoder(), codes(), codes(n=10)), "300 and 10 rows"),
        ((decoder(), decoder(), codes(m=3), codes()), "first codes have 3 features and their decoder 40"),
        ((decoder(), decoder(), codes(), codes(m=3)), "second codes have 3 features and their decoder 40"),
        ((decoder(), decoder(), codes()[:0], codes()[:0]), "no rows"),
        ((decoder()[0], decoder(), codes(), codes()), "features and their decoder|matrix"),
        ((decoder() * np.nan, decoder(), codes(), codes()), "first decoder .* NaN"),
        ((decoder(), decoder(), codes() + np.inf, codes()), "first codes .* NaN"),
        ((decoder(), decoder() * 0, codes(), codes()), "second decoder has a zero row"),
    ],
)
def test_bad_matrices_are_named(arguments, message):
    with pytest.raises(InputError, match=message), np.errstate(invalid="ignore"):
        survival(*arguments)


@pytest.mark.parametrize(
    "options", [{"by": "name"}, {"chance_quantile": 1.0}, {"chance_quantile": 0.0}, {"chance_draws": 0}]
)
def test_bad_options_are_named(options):
    with pytest.raises(InputError, match=next(iter(options))):
        survival(decoder(), decoder(), codes(), codes(), **options)
