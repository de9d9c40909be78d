"""Agreement of explanations: by hand, and at the level of chance where two sets are samples of one distribution."""

import numpy as np
import pytest
from scipy import stats

from tests.evaluate.probe_sets import probe_set
from winnow.errors import InputError
from winnow.evaluate.concept_agreement import (
    coefficient_correlation,
    compare_halves,
    halves,
    overlap,
    top_concepts,
    truncated,
)
from winnow.evaluate.concept_probes import Explanation, baseline_explanation


def test_overlap_and_correlation_of_explanations_by_hand():
    a = Explanation(np.array([[3.0, 2, -1, 0], [0, 0, 1, 4]]), np.zeros(2), np.array([0, 1]), 1.0)
    b = Explanation(np.array([[3.0, -2, 1, 0], [5, 0, 0, 0]]), np.zeros(2), np.array([0, 7]), 1.0)
    assert top_concepts(a, 2) == {0: {0, 1}, 1: {2, 3}}
    assert overlap(a, b, 2) == pytest.approx(1 / 3) and overlap(a, a) == 1
    assert coefficient_correlation(a, b) == pytest.approx(np.corrcoef([3, 2, -1, 0], [3, -2, 1, 0])[0, 1])
    flat = a._replace(coefficients=np.zeros((2, 4)))
    assert np.isnan(coefficient_correlation(a, flat)) and np.isnan(overlap(flat, flat))
    tied = Explanation(np.array([[1.0, 1.0], [1.0, 1.0]]), np.zeros(2), np.array([4, 6]), 1.0)
    assert tied.predict(np.array([[True, False]])).tolist() == [4] and top_concepts(tied, 1)[4] == {0}


def test_halves_are_disjoint_equal_and_drawn_anew():
    probe, _ = probe_set(sizes=(41, 20, 20))
    first, second = halves(probe, 0, 0)
    rows = [{x.tobytes() for x in part["train"].features} for part in (first, second)]
    assert len(rows[0]) == len(rows[1]) == 20 and not rows[0] & rows[1]
    again = {x.tobytes() for x in halves(probe, 0, 1)[0]["train"].features}
    assert again != rows[0] and first["test"] is probe["test"]


def test_two_samples_of_one_distribution_agree_as_much_as_halves_of_one_and_a_rotated_one_does_not():
    gaps = []
    for seed in range(20):
        a, _ = probe_set((80, 20, 20), seed=2 * seed)
        b, _ = probe_set((80, 20, 20), seed=2 * seed + 1)
        found = compare_halves(a, b, range(4), draws=3, seed=seed)
        gaps.append(found.cosine_within.mean() - found.cosine_across.mean())
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(len(gaps)) + 0.01
    turned = {s: p._replace(features=p.features[:, ::-1]) for s, p in b.items()}
    far = compare_halves(a, turned, range(4), draws=3)
    assert far.cosine_across.mean() < 0.6 * far.cosine_within.mean()
    assert far.cosine_within.shape == (3, 4) and far.overlap_within.shape == (3,)
    longer, _ = probe_set((81, 20, 20))
    with pytest.raises(InputError, match="differ in size"):
        compare_halves(a, longer, range(4))


def test_a_difference_between_samples_of_one_distribution_is_rarely_taken_for_more_than_chance():
    """The test of claims: Student's, one-sided at .05, over 3 seeds; here of within over across, which is nothing."""
    rejections, sims, seeds = 0, 100, 3
    for sim in range(sims):
        gaps = []
        for i in range(seeds):
            a, _ = probe_set((40, 8, 8), features=6, concepts=2, seed=2 * (seeds * sim + i))
            b, _ = probe_set((40, 8, 8), features=6, concepts=2, seed=2 * (seeds * sim + i) + 1)
            found = compare_halves(a, b, range(2), draws=1, seed=i)
            gaps.append(found.cosine_within.mean() - found.cosine_across.mean())
        rejections += stats.ttest_1samp(gaps, 0, alternative="greater").pvalue < 0.05
    assert rejections <= 0.07 * sims


def test_a_truncated_explanation_is_fitted_on_the_concepts_that_matter_most():
    probe, _ = probe_set()
    full = baseline_explanation(probe, range(8))
    curve = truncated(probe, full, [1, 2, 8])
    assert curve[1] < curve[2] and curve[8] == pytest.approx(full.fidelity(probe["test"]))
