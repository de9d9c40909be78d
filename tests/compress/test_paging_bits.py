"""Features tell the past alone, labels come from the training part, and what follows from a page is learned."""

import numpy as np
import pytest

from winnow.compress.paging import lfd, phase_truth, simulate
from winnow.compress.paging_bits import fit_bits, request_features
from winnow.errors import InputError


def test_features_tell_the_past_alone():
    trace = np.array([5, 7, 5, 5, 7])
    features = np.expm1(request_features(trace))
    np.testing.assert_allclose(features[:, 2], [0, 0, 1, 2, 1])
    np.testing.assert_allclose(features[2:, 0], [2, 1, 3])
    np.testing.assert_allclose(features[2:, 1], [2, 1.5, 3])
    for cut in range(1, 5):
        np.testing.assert_array_equal(request_features(trace[:cut]), request_features(trace)[:cut])


def test_unless_told_discard_bits_are_learned_and_a_page_not_met_has_the_share_of_all():
    trace = np.random.default_rng(0).integers(0, 12, 300)
    plain, told = fit_bits(trace, 4), fit_bits(trace, 4, "discard", 0)
    assert plain.shares == told.shares and plain.bits(trace).tolist() == told.bits(trace).tolist()
    truth = lfd(trace, 4)[1]
    assert plain.prior == truth.mean() and fit_bits(trace, 4, "phase").prior == phase_truth(trace, 4).mean()
    for page in range(12):
        mine = truth[trace == page]
        assert plain.shares[page] == pytest.approx((mine.sum() + truth.mean()) / (len(mine) + 1))
    assert plain.bits(np.array([99, 99])).shape == (2,) and plain.bits(trace).dtype == np.uint8


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


def test_labels_of_the_training_part_leave_out_their_own_bit():
    """With its own bit in, a page met once would give its answer away."""
    generator = np.random.default_rng(5)
    trace = np.concatenate([generator.integers(0, 8, 800), 100 + generator.permutation(400)])
    trace = trace[generator.permutation(1200)]
    predictor = fit_bits(trace, 4)
    truth = lfd(trace, 4)[1]
    ones = {page: truth[trace == page].sum() for page in set(trace.tolist())}
    number = {page: (trace == page).sum() for page in ones}
    held_out = np.array([(ones[p] - t + truth.mean()) / number[p] for p, t in zip(trace.tolist(), truth, strict=True)])
    told = predictor.model.predict(np.column_stack([request_features(trace), held_out]))
    assert (told == truth).mean() > 0.8


def test_what_comes_before_the_test_part_is_remembered():
    trace = np.random.default_rng(0).integers(0, 12, 300)
    predictor = fit_bits(trace[:200], 4)
    whole = request_features(trace)[200:]
    shares = np.array([predictor.shares[page] for page in trace[200:].tolist()])
    expected = predictor.model.predict(np.column_stack([whole, shares]))
    assert predictor.bits(trace[200:]).tolist() == expected.tolist()


@pytest.mark.parametrize(("trace", "k"), [([1, 1, 1], 3), ([], 2)])
def test_bits_that_are_all_equal_are_refused(trace, k):
    with pytest.raises(InputError, match=f"k: is {k}, and all discard bits of the training part are 0; change k"):
        fit_bits(np.array(trace, int), k)
    with pytest.raises(InputError, match="and all phase bits of the training part are 1"):
        fit_bits(np.arange(6), 1, "phase")
