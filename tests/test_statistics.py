from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from winnow import statistics
from winnow.errors import InputError
from winnow.statistics import (
    bootstrap_interval,
    bootstrap_means,
    bootstrap_p,
    equivalence,
    holm,
    mantel,
    paired_t,
    sign_flip_test,
    sign_interval,
    sign_test,
    t_interval,
    wilcoxon,
)

ALTERNATIVES = ["greater", "less", "two-sided"]
TIED = [0.5, -0.5, 1.0, 1.0, -2.0, 3.0, 0.0, 3.0]
differences = st.lists(st.integers(-20, 20).map(lambda i: i / 4), min_size=2, max_size=7)


def normal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1, n)


def quantile_by_hand(means: list[float], share: float) -> float:
    """The smallest mean that at least this share of all means does not exceed."""
    ordered = sorted(means)
    return next(m for i, m in enumerate(ordered, 1) if i / len(ordered) >= share - 1e-9)


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("values", [[1.0, 3.0, 2.0], [0.5, -0.25, 4.0, 1.0], list(normal(5))])
def test_the_bootstrap_of_few_pairs_is_the_one_over_all_resamples(values, confidence):
    means = [float(np.mean(resample)) for resample in product(values, repeat=len(values))]
    interval = bootstrap_interval(values, confidence)
    assert interval.estimate == pytest.approx(np.mean(values))
    assert interval.low == pytest.approx(quantile_by_hand(means, (1 - confidence) / 2))
    assert interval.high == pytest.approx(quantile_by_hand(means, (1 + confidence) / 2))


@pytest.mark.parametrize("null", [-5.0, 0.0, 0.3, 1.0, 5.0])
def test_the_bootstrap_p_value_is_the_share_of_all_resamples_not_above_the_null(null):
    values = [0.5, -0.25, 1.0, 0.7]
    means = [np.mean(resample) for resample in product(values, repeat=4)]
    assert bootstrap_p(values, null) == pytest.approx(np.mean([m <= null for m in means]))


@pytest.mark.parametrize("n", [9, 10, 40])
def test_the_bootstrap_agrees_with_scipy_up_to_sampling_error(n):
    values = normal(n)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=40_000, method="percentile", rng=1).confidence_interval
    ours = bootstrap_interval(values, seed=3, resamples=40_000)
    error = values.std() / np.sqrt(n)
    # The standard error of a 2.5 % quantile of 40,000 draws is about 0.014 standard errors of the mean.
    assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=0.06 * error)


def test_bootstrap_weights_sum_to_one_and_draws_follow_the_seed():
    for n in (5, 9, 12):
        means, weights = bootstrap_means(normal(n), seed=1, resamples=500)
        assert weights.sum() == pytest.approx(1, abs=1e-12)
        assert (np.diff(means) >= 0).all()
        assert len(weights) == len(means) == {5: 126, 9: 24310, 12: 500}[n]
    again, other = (bootstrap_means(normal(12), seed=s, resamples=500)[0] for s in (1, 2))
    assert np.array_equal(means, again) and not np.array_equal(means, other)


def test_default_bootstrap_is_95_percent_with_9999_resamples():
    values = normal(20)
    assert bootstrap_interval(values) == bootstrap_interval(values, 0.95, 0, 9999)
    assert len(bootstrap_means(values)[0]) == 9999
    assert bootstrap_p(values) == bootstrap_p(values, 0.0, 0, 9999) > 0


def test_blocks_of_resamples_change_no_draw(monkeypatch):
    values = normal(25)
    whole = bootstrap_means(values, 4, 300)[0], sign_flip_test(values, seed=4, resamples=300)
    monkeypatch.setattr(statistics, "BLOCK", 700)
    assert np.array_equal(bootstrap_means(values, 4, 300)[0], whole[0])
    assert sign_flip_test(values, seed=4, resamples=300) == whole[1]


@given(differences, st.floats(0.5, 0.99))
def test_bootstrap_intervals_are_ordered_and_move_and_scale_with_the_data(values, confidence):
    low, high = bootstrap_interval(values, confidence)[1:]
    assert min(values) <= low <= high <= max(values)
    moved = bootstrap_interval([2 * v + 1 for v in values], confidence)
    assert moved.low == pytest.approx(2 * low + 1) and moved.high == pytest.approx(2 * high + 1)
    if low > 0:
        assert bootstrap_p(values) <= (1 - confidence) / 2 + 1e-9


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("null", [0.0, 0.4])
@pytest.mark.parametrize("n", [2, 5, 30])
def test_paired_t_is_scipys(n, null, alternative):
    theirs = stats.ttest_1samp(normal(n), null, alternative=alternative)
    assert paired_t(normal(n), null, alternative) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-12)


def test_paired_t_of_equal_differences_is_certain_rather_than_nan():
    assert paired_t([0.1, 0.1, 0.1], 0.0, "greater") == (np.inf, 0.0)
    assert paired_t([0.1, 0.1, 0.1], 0.2, "greater") == (-np.inf, 1.0)
    assert paired_t([0.0, 0.0], 0.0) == (0.0, 1.0)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_t_interval_is_scipys(confidence):
    values = normal(6)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert t_interval(values, confidence)[1:] == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert t_interval(values).estimate == pytest.approx(values.mean())
    assert t_interval(values) == t_interval(values, 0.95)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("null", [0.0, 1.0])
def test_the_sign_test_is_scipys_binomial_test_without_the_ties(null, alternative):
    signs = [v for v in np.array(TIED) - null if v]
    above = sum(s > 0 for s in signs)
    theirs = stats.binomtest(above, len(signs), 0.5, alternative=alternative).pvalue
    assert sign_test(TIED, null, alternative) == pytest.approx((above, theirs))


def test_a_sign_test_of_nothing_but_ties_says_nothing():
    assert sign_test([0.0, 0.0]) == (0.0, 1.0)
    assert wilcoxon([0.0]) == (0.0, 1.0)


@pytest.mark.parametrize("confidence", [0.5, 0.75, 0.9, 0.95])
@pytest.mark.parametrize("n", range(1, 21))
def test_the_sign_interval_holds_exactly_the_medians_that_the_sign_test_accepts(n, confidence):
    values = normal(n)
    low, high = sign_interval(values, confidence)[1:]
    for null in np.concatenate([values - 1e-9, values + 1e-9]):
        assert (low < null < high) == (sign_test(values, null).p_value > 1 - confidence)


def test_the_sign_interval_needs_six_pairs_and_centres_on_the_median():
    assert sign_interval([1, 2, 3, 4, 5]) == (3, -np.inf, np.inf)
    assert sign_interval([1, 2, 3, 4, 5, 7]) == (3.5, 1, 7)
    assert sign_interval([1, 2, 3, 4, 9], 0.9) == (3, 1, 9)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("n", [1, 4, 9, 30])
def test_wilcoxon_is_scipys_exact_test(n, alternative):
    values = normal(n)
    theirs = stats.wilcoxon(values, alternative=alternative, method="exact")
    assert wilcoxon(values, 0.0, alternative).p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    assert wilcoxon(values).statistic == stats.wilcoxon(values, alternative="greater").statistic
    assert wilcoxon(values + 0.7, 0.7, alternative) == pytest.approx(wilcoxon(values, 0.0, alternative))


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_wilcoxon_with_ties_is_exact_over_all_sign_patterns(alternative):
    values = np.array([v for v in TIED if v])
    ranks = stats.rankdata(np.abs(values))
    observed = ranks[values > 0].sum()
    sums = np.array([np.dot(signs, ranks) for signs in product([0, 1], repeat=len(ranks))])
    above, below = np.mean(sums >= observed), np.mean(sums <= observed)
    expected = {"greater": above, "less": below, "two-sided": min(1, 2 * min(above, below))}[alternative]
    assert wilcoxon(TIED, alternative=alternative) == pytest.approx((observed, expected))


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_wilcoxon_of_many_pairs_is_scipys_approximation(alternative):
    values = np.round(normal(300), 1)
    theirs = stats.wilcoxon(values, alternative=alternative, method="asymptotic", correction=False).pvalue
    assert wilcoxon(values, alternative=alternative).p_value == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("values", [TIED, list(normal(5)), list(normal(10)), [1.0] * 6])
def test_the_sign_flip_test_is_scipys_exact_permutation_test(values, alternative):
    theirs = stats.permutation_test(
        (np.array(values),), np.mean, permutation_type="samples", n_resamples=np.inf, alternative=alternative
    )
    assert sign_flip_test(values, 0.0, alternative) == pytest.approx((theirs.statistic, theirs.pvalue))
    shifted = sign_flip_test(np.array(values) + 0.25, 0.25, alternative)
    assert shifted == pytest.approx((theirs.statistic, theirs.pvalue))


def test_random_sign_flips_approach_the_exact_p_value_and_never_reach_zero(monkeypatch):
    values = normal(12, seed=3)
    exact = sign_flip_test(values, alternative="greater").p_value
    monkeypatch.setattr(statistics, "EXACT_SIGN_FLIPS", 3)
    sampled = sign_flip_test(values, alternative="greater", resamples=20_000).p_value
    # Three standard errors of a share estimated from 20,000 draws.
    assert sampled == pytest.approx(exact, abs=3 * np.sqrt(exact * (1 - exact) / 20_000))
    assert sign_flip_test([1.0] * 40, alternative="greater", resamples=99).p_value == 1 / 100
    assert sign_flip_test([-1.0] * 40, alternative="less", resamples=99).p_value == 1 / 100


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (-0.2, 2.0), (0.0, 0.5)])
def test_equivalence_is_the_worse_of_two_one_sided_tests(bounds):
    values = normal(12)
    low = stats.ttest_1samp(values, bounds[0], alternative="greater")
    high = stats.ttest_1samp(values, bounds[1], alternative="less")
    worse = max((low, high), key=lambda r: r.pvalue)
    assert equivalence(values, *bounds) == pytest.approx((worse.statistic, worse.pvalue), rel=1e-12)


@given(differences.filter(lambda v: np.ptp(v) > 0), st.floats(0.25, 6))
def test_equivalence_at_5_percent_is_a_90_percent_interval_inside_the_bounds(values, margin):
    low, high = t_interval(values, 0.9)[1:]
    if min(abs(low + margin), abs(high - margin)) > 1e-9:
        assert (equivalence(values, -margin, margin).p_value <= 0.05) == (-margin < low and high < margin)


def test_equivalence_and_holm_agree_with_statsmodels():
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    descriptive = pytest.importorskip("statsmodels.stats.descriptivestats")
    a, b = normal(15), normal(15, seed=9)
    assert equivalence(a - b, -0.9, 0.8).p_value == pytest.approx(weightstats.ttost_paired(a, b, -0.9, 0.8)[0])
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.9, 0.04])
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])
    assert sign_test(TIED).p_value == pytest.approx(descriptive.sign_test(TIED)[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(p, level):
    rejected = []
    for step, (value, index) in enumerate(sorted((v, i) for i, v in enumerate(p))):
        if value * (len(p) - step) > level:
            break
        rejected.append(index)
    assert np.flatnonzero(holm(p) <= level).tolist() == sorted(rejected)


def test_holm_of_known_values():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.9]).tolist() == [1, 1]


def distances(n: int, seed: int) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(n, 2))
    return np.linalg.norm(points[:, None] - points[None], axis=2)


@pytest.mark.parametrize("n", [3, 4, 5, 6])
@pytest.mark.parametrize("ranks", [False, True])
def test_mantel_of_few_objects_is_exact_over_all_orders(n, ranks):
    a, b = distances(n, 0), distances(n, 1) + 0.5 * distances(n, 0)
    upper = np.triu_indices(n, 1)
    correlate = stats.spearmanr if ranks else stats.pearsonr
    all_orders = [correlate(a[upper], b[np.ix_(o, o)][upper])[0] for o in map(list, permutations(range(n)))]
    result = mantel(a, b, ranks)
    assert result.statistic == pytest.approx(all_orders[0])
    assert result.p_value == pytest.approx(np.mean(np.array(all_orders) >= all_orders[0] - 1e-12))


def test_sampled_mantel_approaches_the_exact_p_value(monkeypatch):
    a, b = distances(6, 0), distances(6, 1) + 0.3 * distances(6, 0)
    exact = mantel(a, b)
    monkeypatch.setattr(statistics, "EXACT_PERMUTATIONS", 3)
    monkeypatch.setattr(statistics, "BLOCK", 5000)
    sampled = mantel(a, b, resamples=20_000)
    assert sampled.statistic == exact.statistic
    assert sampled.p_value == pytest.approx(exact.p_value, abs=3 * np.sqrt(exact.p_value / 20_000))
    assert mantel(a, b, resamples=20_000) == sampled != mantel(a, b, seed=1, resamples=20_000)


def test_mantel_of_a_matrix_with_itself_is_one_and_as_rare_as_counted():
    result = mantel(distances(12, 0), distances(12, 0), resamples=199)
    assert result == pytest.approx((1.0, 1 / 200))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([1.0]), "at least 2"),
        (lambda: bootstrap_interval([[1.0, 2.0]]), "vector"),
        (lambda: bootstrap_interval([1.0, np.nan]), "NaN"),
        (lambda: bootstrap_interval([1.0, 2.0], confidence=1.0), "confidence is 1.0"),
        (lambda: t_interval([1.0, 2.0], confidence=0.0), "confidence is 0.0"),
        (lambda: t_interval([1.0]), "at least 2"),
        (lambda: sign_interval([1.0, 2.0], 95), "confidence is 95"),
        (lambda: paired_t([1.0]), "at least 2"),
        (lambda: paired_t([1.0, 2.0], 0, "bigger"), "alternative is 'bigger'"),
        (lambda: sign_test([]), "at least 1"),
        (lambda: wilcoxon([np.inf]), "infinite"),
        (lambda: sign_flip_test([]), "at least 1"),
        (lambda: equivalence([1.0, 2.0], 1, 1), "first must be the smaller"),
        (lambda: holm([0.5, 1.5]), "from 0 to 1"),
        (lambda: holm([np.nan]), "from 0 to 1"),
        (lambda: holm([[0.5]]), "vector"),
        (lambda: mantel(np.eye(2), np.eye(2)), "square"),
        (lambda: mantel(np.ones((3, 4)), np.ones((3, 4))), "square"),
        (lambda: mantel(distances(4, 0), distances(5, 0)), "4 and 5 objects"),
        (lambda: mantel(np.triu(distances(4, 0)), distances(4, 0)), "first .* symmetric"),
        (lambda: mantel(distances(4, 0), distances(4, 0) * np.nan), "second .* finite"),
        (lambda: mantel(distances(4, 0), 1 - np.eye(4)), "constant"),
        (lambda: mantel(distances(4, 0), np.zeros((4, 4))), "constant"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
