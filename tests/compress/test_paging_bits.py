"""Features tell the past alone, labels come from the training part, and what follows from a page is learned."""

import numpy as np
import pytest

from winnow.compress.paging import lfd, phase_truth, simulate
from winnow.compress.paging_bits import fit_bits, past_bits, request_features
from winnow.errors import InputError
from winnow.workloads.traces import zipf_trace


def test_features_tell_the_past_alone():
    trace = np.array([5, 7, 5, 5, 7])
    features = np.expm1(request_features(trace))
    np.testing.assert_allclose(features[:, 2], [0, 0, 1, 2, 1])
    np.testing.assert_allclose(features[2:, 0], [2, 1, 3])
    np.testing.assert_allclose(features[2:, 1], [2, 1.5, 3])
    for cut in range(1, 5):
        np.testing.assert_array_equal(request_features(trace[:cut]), request_features(trace)[:cut])


def test_unless_told_discard_bits_are_learned():
    trace = np.random.default_rng(0).integers(0, 12, 300)
    plain, told = fit_bits(trace, 4), fit_bits(trace, 4, "discard", 0)
    assert plain.bits(trace).tolist() == told.bits(trace).tolist()
    assert plain.truth.tolist() == lfd(trace, 4)[1].tolist()
    assert fit_bits(trace, 4, "phase").truth.tolist() == phase_truth(trace, 4).tolist()
    assert plain.bits(np.array([99, 99])).shape == (2,) and plain.bits(trace).dtype == np.uint8
    assert plain.bits(np.array([], int)).shape == (0,)


def test_past_bits_are_a_loop_over_earlier_requests():
    generator = np.random.default_rng(1)
    trace, truth = generator.integers(0, 5, 60), generator.integers(0, 2, 40)
    found, prior = past_bits(trace, truth), truth.mean()
    for i in range(60):
        mine = [truth[j] for j in range(min(i, 40)) if trace[j] == trace[i]]
        assert found[i, 0] == pytest.approx((sum(mine) + prior) / (len(mine) + 1))
        assert found[i, 1] == (mine[-1] if mine else pytest.approx(prior))
    assert past_bits(np.array([], int), np.array([], int)).shape == (0, 2)


def test_a_request_tells_nothing_of_its_own_bit():
    trace = np.random.default_rng(2).integers(0, 5, 50)
    truth = lfd(trace, 3)[1]
    for i in range(50):
        other = truth.copy()
        other[i:] = 1 - other[i:]
        same = past_bits(trace, other)[: i + 1] - past_bits(trace, truth)[: i + 1]
        # Only the share of all, which stands for pages not met, may differ.
        shared = (other.mean() - truth.mean()) / np.array([(trace[:j] == trace[j]).sum() + 1 for j in range(i + 1)])
        np.testing.assert_allclose(same[:, 0], shared, atol=1e-12)


def test_features_of_the_first_request_of_a_page_say_that_it_is_new():
    features = np.expm1(request_features(np.array([5, 7, 5])))
    np.testing.assert_allclose(features[:, :2], [[1e6, 1e6], [1e6, 1e6], [2, 2]], rtol=1e-9)
    np.testing.assert_allclose(features[:, 3], [0, 0, 1 / 3])
    assert request_features(np.array([], int)).shape == (0, 4)


def test_bits_that_follow_from_the_page_are_learned():
    # Half of the pages come again and again, half never: what is never met again is to be discarded.
    generator = np.random.default_rng(2)
    hot = generator.integers(0, 8, 3000)
    trace = np.where(generator.random(3000) < 0.5, hot, 100 + np.arange(3000))
    train, test = trace[:2000], trace[2000:]
    bits = fit_bits(train, 10).bits(test)
    truth = lfd(test, 10)[1]
    assert (bits == truth).mean() > 0.9
    least, lru = lfd(test, 10)[0], simulate(test, None, 10, "lru").faults
    assert simulate(test, bits, 10, "mark0").faults - least < (lru - least) / 4


def test_what_comes_before_the_test_part_is_remembered():
    trace = np.random.default_rng(0).integers(0, 12, 300)
    predictor = fit_bits(trace[:200], 4)
    whole = np.column_stack([request_features(trace), past_bits(trace, lfd(trace[:200], 4)[1])])[200:]
    assert predictor.bits(trace[200:]).tolist() == predictor.model.predict(whole).tolist()


@pytest.mark.parametrize("kind", ["discard", "phase"])
def test_requests_that_are_fitted_are_told_what_requests_in_use_are_told(kind, monkeypatch):
    """The rows of the second half are those which a predictor that has seen the first half makes of them."""
    trace, rows = zipf_trace(30, 600, np.random.default_rng(4)), []

    class Kept:
        def __init__(self, **_):
            pass

        def fit(self, features, truth):
            rows.append((features, truth))

        def predict(self, features):
            rows.append((features, None))
            return np.zeros(len(features))

    monkeypatch.setattr("sklearn.ensemble.HistGradientBoostingClassifier", Kept)
    fitted = fit_bits(trace, 8, kind)
    early = fit_bits(trace[:300], 8, kind)
    early.bits(trace[300:])
    (features, truth), _, (asked, _) = rows
    np.testing.assert_array_equal(features, asked)
    np.testing.assert_array_equal(truth, fitted.truth[300:])


def test_phase_bits_are_learned_better_than_the_commoner_one_is_guessed():
    """Pages are drawn one by one, so that nothing but how often they come tells whether the next phase has them."""
    trace = zipf_trace(60, 4000, np.random.default_rng(1))
    truth = phase_truth(trace[2000:], 15)
    often = np.bincount(trace[:2000], minlength=60)[trace[2000:]]
    best = max(float(((often < least) == truth).mean()) for least in np.unique(often))
    right = float((fit_bits(trace[:2000], 15, "phase").bits(trace[2000:]) == truth).mean())
    assert max(truth.mean(), 1 - truth.mean()) + 0.1 < right and right > best - 0.05


def test_bits_that_are_equal_where_trees_are_fitted_are_refused():
    trace = np.concatenate([np.arange(10), np.tile([0, 1], 20)])
    with pytest.raises(InputError, match="all discard bits of the second half of the training part are 0; change k"):
        fit_bits(trace, 3)


@pytest.mark.parametrize(("trace", "k"), [([1, 1, 1], 3), ([], 2)])
def test_bits_that_are_all_equal_are_refused(trace, k):
    with pytest.raises(InputError, match=f"k: is {k}, and all discard bits of the training part are 0; change k"):
        fit_bits(np.array(trace, int), k)
    with pytest.raises(InputError, match="and all phase bits of the training part are 1"):
        fit_bits(np.arange(6), 1, "phase")
