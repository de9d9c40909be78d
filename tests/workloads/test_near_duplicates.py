"""Clusters of near-duplicates are those of comparing every pair."""

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from winnow.errors import InputError
from winnow.workloads import near_duplicates
from winnow.workloads.near_duplicates import near_duplicate_clusters


def by_hand(images, distance):
    """All pairs, the definition of the distance, components by another library."""
    flat = images.reshape(len(images), -1).astype(float) / 255
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(images)))
    for i in range(len(images)):
        for j in range(i):
            if np.sqrt(((flat[i] - flat[j]) ** 2).mean()) <= distance + 1e-12:
                graph.add_edge(i, j)
    cluster = np.empty(len(images), int)
    for number, members in enumerate(sorted(networkx.connected_components(graph), key=min)):
        cluster[list(members)] = number
    return cluster


def families(seed, count, shape, spread):
    """Images of which many are noisy copies of others."""
    rng = np.random.default_rng(seed)
    parents = rng.integers(0, 256, (count // 4, *shape))
    children = parents[rng.integers(0, len(parents), count)]
    return (children + rng.integers(-spread, spread + 1, children.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 5, 3), (3, 4, 1), (1, 1, 1)])
@pytest.mark.parametrize("distance", [0, 0.01, 0.02, 0.05, 0.3])
def test_clusters_are_those_of_brute_force(shape, distance, monkeypatch):
    monkeypatch.setattr(near_duplicates, "ROWS", 16)
    monkeypatch.setattr(near_duplicates, "PAIRS", 5)
    images = families(0, 70, shape, spread=8)
    assert near_duplicate_clusters(images, distance).tolist() == by_hand(images, distance).tolist()


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 9), st.just(1))),
    st.floats(0, 1),
)
def test_any_images_and_any_distance_agree_with_brute_force(images, distance):
    squared = ((images.reshape(len(images), 1, -1).astype(int) - images.reshape(1, len(images), -1)) ** 2).mean(2)
    if (abs(np.sqrt(squared) / 255 - distance) < 1e-9).any():
        return  # rounding decides such a pair differently in the two formulas
    assert near_duplicate_clusters(images, distance).tolist() == by_hand(images, distance).tolist()


def test_the_bounds_leave_hardly_a_pair_but_the_close_ones_to_compare():
    images = families(4, 80, (28, 28, 1), spread=2)
    flat = images.reshape(80, -1).astype(int)
    limit = (255 * 0.02) ** 2 * flat.shape[1]
    candidates = [
        set(zip(a.tolist(), b.tolist(), strict=True)) for a, b in near_duplicates._candidate_blocks(images, limit)
    ]
    squared = ((flat[:, None] - flat[None]) ** 2).sum(2)
    close = {(i, j) for i in range(80) for j in range(i) if squared[i, j] <= limit}
    assert {(max(pair), min(pair)) for pair in set().union(*candidates)} == close


@pytest.mark.parametrize("rows", [7, 512])
def test_candidates_are_the_pairs_whose_block_averages_are_close_enough(rows, monkeypatch):
    monkeypatch.setattr(near_duplicates, "ROWS", rows)
    rng = np.random.default_rng(6)
    images = (rng.integers(100, 116, (30, 14, 21, 2)) + rng.integers(0, 8, (30, 1, 1, 1))).astype(np.uint8)
    # Seven by seven blocks of two by three pixels, each channel by itself.
    averages = images.reshape(30, 7, 2, 7, 3, 2).mean(axis=(2, 4)).reshape(30, -1)
    bounds = ((averages[:, None] - averages[None]) ** 2).sum(2) * 6
    # In the widest gap of the middle, so that the allowance for rounding decides nothing.
    middle = np.sort(bounds[np.triu_indices(30, 1)])[120:300]
    widest = np.diff(middle).argmax()
    limit = float(middle[widest])
    assert middle[widest + 1] - limit > 3e-6 * (averages**2).sum(axis=1).max() * 6
    found = [pair for block in near_duplicates._candidate_blocks(images, limit) for pair in zip(*block, strict=True)]
    expected = {(i, j) for i in range(30) for j in range(i) if bounds[i, j] <= limit + 1e-6}
    assert len(found) == len(expected) and {(max(pair), min(pair)) for pair in found} == expected


def test_a_pair_exactly_at_the_distance_is_linked_and_one_just_beyond_is_not():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    images[1] = 51  # a fifth of the range, everywhere
    assert near_duplicate_clusters(images, 0.2).tolist() == [0, 0]
    assert near_duplicate_clusters(images, 0.1999).tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(28, 28, 1), (16, 15, 1), (29, 10, 3), (1, 40, 1)])
@pytest.mark.parametrize("shift", [0, 1, 7, 51])
def test_copies_that_are_brighter_all_over_are_linked_at_just_that_distance(shape, shift):
    # Here both lower bounds are as large as the distance itself, to the last bit: nothing is left to spare.
    assert (255 * (shift / 255)) ** 2 == shift**2
    originals = np.random.default_rng(shift).integers(0, 200, (20, *shape)).astype(np.uint8)
    images = np.concatenate([originals, originals + np.uint8(shift)])
    assert near_duplicate_clusters(images, shift / 255).tolist() == [*range(20), *range(20)]
    if shift:
        assert near_duplicate_clusters(images, shift / 255 * (1 - 1e-9)).tolist() == list(range(40))


@pytest.mark.parametrize("value", [1, 7, 51, 255])
def test_images_lit_in_different_halves_are_linked_at_just_that_distance(value):
    # Further apart than the brighter of them is from black, and again nothing is left to spare.
    images = np.zeros((2, 14, 14, 1), np.uint8)
    images[0, :, :6], images[1, :, 8:] = value, value
    limit = value * np.sqrt(12 / 14) / 255
    assert near_duplicate_clusters(images, limit * (1 + 1e-12)).tolist() == [0, 0]
    assert near_duplicate_clusters(images, limit * (1 - 1e-9)).tolist() == [0, 1]


@pytest.mark.parametrize("black", [0, 1])
def test_copies_of_large_bright_images_are_linked_at_distance_zero(black):
    # Squares near 10^10: rounding of their sums exceeds the allowance that small images need.
    originals = np.random.default_rng(0).integers(200, 256, (12, 250, 250, 3)).astype(np.uint8)
    images = np.concatenate([originals, originals, np.zeros((black, 250, 250, 3), np.uint8)])
    assert near_duplicate_clusters(images, 0).tolist() == [*range(12), *range(12), 12][: 24 + black]


def test_black_images_are_linked_at_distance_zero():
    assert near_duplicate_clusters(np.zeros((3, 4, 5, 2), np.uint8), 0).tolist() == [0, 0, 0]


def test_the_whole_range_links_everything():
    images = np.zeros((3, 2, 2, 1), np.uint8)
    images[1:] = [[[[255]]], [[[128]]]]
    assert near_duplicate_clusters(images, 1).tolist() == [0, 0, 0]


def test_links_chain():
    images = np.arange(0, 100, 10, dtype=np.uint8)[:, None, None, None]
    assert near_duplicate_clusters(images, 10 / 255).tolist() == [0] * 10
    assert near_duplicate_clusters(images, 9.9 / 255).tolist() == list(range(10))


def test_zero_links_identical_images_only_and_no_images_make_no_clusters():
    images = families(1, 40, (8, 8, 1), spread=1)
    images[30] = images[3]
    assert near_duplicate_clusters(images, 0).max() == 38
    assert near_duplicate_clusters(images[:0], 0.1).tolist() == []


def test_clusters_do_not_depend_on_the_order_of_rows():
    images = families(2, 60, (8, 8, 1), spread=6)
    order = np.random.default_rng(3).permutation(60)
    straight, shuffled = near_duplicate_clusters(images, 0.02), near_duplicate_clusters(images[order], 0.02)
    together = straight[:, None] == straight
    assert np.array_equal(together[np.ix_(order, order)], shuffled[:, None] == shuffled)


@pytest.mark.parametrize("distance", [-0.1, 1.1, float("nan")])
def test_a_distance_outside_the_range_is_refused(distance):
    with pytest.raises(InputError, match="near_duplicate_distance"):
        near_duplicate_clusters(np.zeros((2, 1, 1, 1), np.uint8), distance)
