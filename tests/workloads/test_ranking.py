"""Ranks are places in a sorted list, and metrics those of scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, top_k_accuracy_score

from winnow.errors import InputError
from winnow.workloads.ranking import gains, ranking_metrics, ranks, top_items, without


def by_hand(scores, target, seen):
    """The mean place of the target over all orders of the items in which scores fall."""
    rivals = [s for item, s in enumerate(scores) if item > 0 and item != target and item not in seen]
    first = 1 + sum(s > scores[target] for s in rivals)
    last = first + sum(s == scores[target] for s in rivals)
    return (first + last) / 2


@st.composite
def asked(draw):
    items, users, width = draw(st.integers(1, 7)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    values = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0])
    scores = [[draw(values) for _ in range(items + 1)] for _ in range(users)]
    targets = [draw(st.integers(1, items)) for _ in range(users)]
    seen = [[draw(st.integers(0, items)) for _ in range(width)] for _ in range(users)]
    return scores, targets, seen


@given(asked())
def test_a_rank_is_the_place_in_a_sorted_list_with_ties_halved(example):
    scores, targets, seen = example
    found = ranks(torch.tensor(scores), torch.tensor(targets), torch.tensor(seen))
    assert found.tolist() == [by_hand(*row) for row in zip(scores, targets, seen, strict=True)]


@given(asked())
def test_what_a_user_has_seen_is_never_recommended_and_order_falls(example):
    scores, _, seen = example
    for row, taken, best in zip(scores, seen, top_items(torch.tensor(scores), torch.tensor(seen), 3), strict=True):
        free = sorted(set(range(1, len(row))) - set(taken), key=lambda item: (-row[item], item))
        assert best.tolist()[: len(free)] == free[:3]


def test_metrics_are_those_of_scikit_learn():
    generator = np.random.default_rng(1)
    scores = generator.permuted(np.tile(np.arange(40.0), (30, 1)), axis=1)
    targets = generator.integers(0, 40, 30)
    truth = np.eye(40)[targets]
    padded = torch.from_numpy(np.concatenate([np.full((30, 1), 1e9), scores], axis=1))
    found = ranking_metrics(ranks(padded, torch.from_numpy(targets + 1), torch.zeros(30, 1, dtype=torch.int64)))
    assert found["ndcg10"] == pytest.approx(ndcg_score(truth, scores, k=10), abs=1e-12)
    assert found["hr10"] == pytest.approx(top_k_accuracy_score(targets, scores, k=10, labels=range(40)), abs=1e-12)
    assert found["mrr"] == pytest.approx(label_ranking_average_precision_score(truth, scores), abs=1e-12)


RECORDED = {
    1: (0.14285714285714285, 0.14285714285714285),
    5: (0.5714285714285714, 0.3596832229722856),
    10: (0.7142857142857143, 0.4009781981605553),
}
"""Cut-off -> hit rate and NDCG of RecBole 1.2.1 for ranks 1, 2, 3, 5, 10, 11 and 40. It needs an older NumPy, so it is
no dependency of tests."""
RECORDED_MRR = 0.3213203463203463


def test_metrics_are_those_of_recbole():
    found = np.array([1.0, 2, 3, 5, 10, 11, 40])
    for k, (hits, gain) in RECORDED.items():
        told = ranking_metrics(found, k)
        assert told[f"hr{k}"] == pytest.approx(hits, abs=1e-9)
        assert told[f"ndcg{k}"] == pytest.approx(gain, abs=1e-9)
        # Its reciprocal rank is cut off, at fifty in this record.
        assert told["mrr"] == pytest.approx(RECORDED_MRR, abs=1e-9)


def test_the_target_stays_in_the_race_though_it_was_seen_and_scores_are_left_alone():
    scores = torch.tensor([[9.0, 1.0, 2.0, 3.0]])
    left = without(scores, torch.tensor([[1, 3]]), torch.tensor([1]))
    assert left.tolist() == [[-np.inf, 1.0, 2.0, -np.inf]]
    assert scores.tolist() == [[9.0, 1.0, 2.0, 3.0]]


def test_gains_end_at_k():
    assert gains(np.array([1.0, 3.0, 10.0, 10.5]), 10).tolist() == pytest.approx([1, 0.5, 1 / np.log2(11), 0])
    assert ranking_metrics(np.array([1.0, 2.5]), 2) == {
        "ndcg2": pytest.approx(0.5),
        "hr2": 0.5,
        "mrr": pytest.approx(0.7),
    }


def test_bad_input_is_named():
    with pytest.raises(InputError, match="targets: reach from 1 to 5; items are 1 to 3"):
        ranks(torch.zeros(2, 4), torch.tensor([1, 5]), torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(InputError, match="targets: reach from 0"):
        ranks(torch.zeros(1, 4), torch.tensor([0]), torch.zeros(1, 1, dtype=torch.int64))
    with pytest.raises(InputError, match="a target's is NaN or infinite"):
        ranks(torch.full((1, 4), torch.nan), torch.tensor([1]), torch.zeros(1, 1, dtype=torch.int64))
    with pytest.raises(InputError, match="of no user"):
        ranking_metrics(np.empty(0))
