"""Baselines: brute force for allocation, loops for scores, the papers' formulas for OWL."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.loud_transformer import loud_transformer
from winnow.compress.evopress import Space
from winnow.compress.evopress_baselines import (
    additive_scores,
    block_influence,
    dp_allocate,
    lowest_scores,
    norm_ratios,
    owl_scores,
    owl_sparsities,
    residual_streams,
    window_of_blocks,
)
from winnow.errors import InputError
from winnow.models.hooks import capture

TWO_GROUPS = Space((0,) * 6, (1,) * 6, ((0, 1, 2), (3, 4, 5)), (1,) * 6)


@given(
    st.lists(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 6)), min_size=1, max_size=3), min_size=1, max_size=4),
    st.integers(0, 24),
    st.integers(1, 3),
)
def test_dynamic_programming_is_brute_force(units, budget, unit):
    errors = [{level: error for level, (error, _) in enumerate(levels)} for levels in units]
    costs = [{level: cost * unit for level, (_, cost) in enumerate(levels)} for levels in units]
    states = [s for s in product(*errors) if sum(c[level] for c, level in zip(costs, s, strict=True)) <= budget * unit]
    if not states:
        with pytest.raises(InputError, match="below .* the cost of the cheapest levels"):
            dp_allocate(errors, costs, budget * unit)
        return
    total = min(sum(e[level] for e, level in zip(errors, state, strict=True)) for state in states)
    found = dp_allocate(errors, costs, budget * unit)
    assert found in states
    assert sum(e[level] for e, level in zip(errors, found, strict=True)) == pytest.approx(total)


def test_a_negative_budget_is_refused():
    with pytest.raises(InputError, match="budget: -1 is below 0"):
        dp_allocate([{0: 1.0}], [{0: 0}], -1)


def test_single_drops_are_scored_on_all_sequences():
    calls = []

    def fitness(state, drawn):
        calls.append((state, list(drawn)))
        return float(np.dot(state, [3, 1, 2, 0, 5, 4]))

    assert additive_scores(TWO_GROUPS, fitness, 3).tolist() == [3, 1, 2, 0, 5, 4]
    assert calls[4] == ((0, 0, 0, 0, 1, 0), [0, 1, 2])


def test_the_lowest_scores_of_each_group_go_and_later_ones_first_among_equals():
    assert lowest_scores(TWO_GROUPS, np.array([3, 1, 2, 0, 5, 4]), (1, 2)) == (0, 1, 0, 1, 0, 1)
    assert lowest_scores(TWO_GROUPS, np.zeros(6), (1, 2)) == (0, 0, 1, 0, 1, 1)
    assert lowest_scores(TWO_GROUPS, np.zeros(6), (0, 3)) == (0, 0, 0, 1, 1, 1)
    for count in (-1, 4):
        with pytest.raises(InputError, match=f"{count} of 3 units"):
            lowest_scores(TWO_GROUPS, np.zeros(6), (count, 0))


@pytest.fixture(scope="module")
def model():
    return loud_transformer(3)


@pytest.fixture(scope="module")
def streams(model):
    return residual_streams(model, torch.randint(0, 40, (2, 5), generator=torch.Generator().manual_seed(0)))


def test_streams_are_those_of_the_model(model, streams):
    windows = torch.randint(0, 40, (2, 5), generator=torch.Generator().manual_seed(0))
    assert len(streams) == 7
    with torch.no_grad():
        for block in range(3):
            assert torch.allclose(streams[2 * block + 2].flatten(0, 1), capture(model, windows, f"blocks.{block}"))
            attention = capture(model, windows, f"blocks.{block}.attention")
            assert torch.allclose((streams[2 * block + 1] - streams[2 * block]).flatten(0, 1), attention, atol=1e-5)


def cosine(a, b):
    pairs = zip(a.flatten(0, 1).numpy().astype(float), b.flatten(0, 1).numpy().astype(float), strict=True)
    return np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in pairs])


def test_influence_norms_and_windows_are_those_of_loops(streams):
    influence, norms = block_influence(streams), norm_ratios(streams)
    for layer in range(6):
        before, after = streams[2 * (layer % 3) + layer // 3], streams[2 * (layer % 3) + layer // 3 + 1]
        assert influence[layer] == pytest.approx(1 - cosine(before, after), abs=1e-6)
        added = (after - before).norm(dim=-1) / after.norm(dim=-1)
        assert norms[layer] == pytest.approx(float(added.mean()), rel=1e-5)
    alike = [cosine(streams[0], streams[4]), cosine(streams[2], streams[6])]
    expected = (1, 1, 0) if alike[0] > alike[1] else (0, 1, 1)
    assert window_of_blocks(streams, 2) == expected * 2
    assert window_of_blocks(streams, 3) == (1,) * 6 and window_of_blocks(streams, 0) == (0,) * 6
    for count in (-1, 4):
        with pytest.raises(InputError, match=f"{count} of 3 blocks cannot be dropped; drop 0 to 3"):
            window_of_blocks(streams, count)


def test_owl_keeps_more_where_there_are_more_outliers():
    scores = [torch.ones(1000) for _ in range(3)]
    scores[1][:10], scores[2][:5] = 100.0, 100.0
    shares = owl_sparsities(scores, 0.6)
    assert shares.mean() == pytest.approx(0.6) and shares.max() - shares.min() == pytest.approx(2 * 0.08)
    assert shares[1] < shares[2] < shares[0]
    # 0, 1 and .5 of the span of outliers
    assert shares == pytest.approx(0.6 + 0.08 - 2 * 0.08 * np.array([0, 1, 0.5]), abs=1e-12)
    assert owl_sparsities([torch.ones(5)] * 2, 0.6).tolist() == [0.6, 0.6]
    # A score of just five times the mean is none above it.
    assert owl_sparsities([torch.tensor([5.0, 0, 0, 0, 0]), torch.ones(5)], 0.6).tolist() == [0.6, 0.6]
    with pytest.raises(InputError, match=r"leaves OWL no room of 0\.08 on either side; give 0\.08 to 0\.92"):
        owl_sparsities(scores, 0.99)
    with pytest.raises(InputError, match="sparsity: 0.01 leaves OWL no room"):
        owl_sparsities(scores, 0.01)


def test_outliers_are_above_five_times_the_mean():
    block = torch.ones(100)
    block[0] = 5 * 100 / 95 * 1.01  # a little above five times the mean, which it raises itself
    below = torch.ones(100)
    below[0] = 5 * 99 / 95 * 0.99
    shares = owl_sparsities([block, below], 0.5)
    assert shares[0] < shares[1]


def test_owl_scores_are_weights_times_the_size_of_their_inputs():
    weight, x = torch.tensor([[1.0, -2.0], [3.0, 0.5]]), torch.tensor([[3.0, 1.0], [-4.0, 1.0]])
    moment = 2 * x.T @ x / 2
    assert torch.allclose(
        owl_scores([weight, weight], [moment, moment])[:4], torch.tensor([12.5**0.5, 2, 3 * 12.5**0.5, 0.5])
    )
    assert owl_scores([weight, weight], [moment, moment]).shape == (8,)


@pytest.mark.parametrize("block", range(3))
def test_a_window_is_judged_by_the_streams_at_its_ends_and_not_within_blocks(block):
    # Before and after each block; the block in question turns the stream by a tenth, the others by one radian and more.
    angles = np.cumsum([0.0, *(0.1 if at == block else 1.0 + 0.1 * at for at in range(3))])
    streams = []
    for at, angle in enumerate(angles):
        streams.append(torch.tensor([[[np.cos(angle), np.sin(angle)]]]))
        if at < 3:  # within each block, where nothing must be read
            streams.append(-streams[-1])
    assert window_of_blocks(streams, 1) == tuple(int(at == block) for at in range(3)) * 2
