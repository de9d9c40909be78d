"""Judgements are those of networks whose prototypes are known: one that sees a part, one that sees the middle."""

import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from winnow.errors import InputError
from winnow.evaluate.prototype_judging import Changed, judge, maps_of, rank_correlation, with_random_prototypes
from winnow.evaluate.prototype_scores import consistency, moves, parts_hit, perturb, stability
from winnow.models import build
from winnow.workloads.annotations import PartPoints

SIDE, GRID, N = 32, 8, 24


class Spots(torch.nn.Module):
    """Prototypes that respond to where an image is brightest in one channel: channel j is prototype j's."""

    def maps(self, x):
        return torch.nn.functional.max_pool2d(x, SIDE // GRID)

    def class_of(self):
        return torch.tensor([0, 0, 1])


@pytest.fixture(scope="module")
def scenes():
    """Images with a bright pixel of each of three parts, in a channel of its own; labels in turn."""
    random = np.random.default_rng(0)
    xy = random.integers(2, SIDE - 2, (N, 3, 2)).astype(np.float32)
    x = torch.zeros(N, 3, SIDE, SIDE)
    for i in range(N):
        for part in range(3):
            x[i, part, int(xy[i, part, 1]), int(xy[i, part, 0])] = 10.0
    return x, torch.arange(N) % 2, PartPoints(("head", "tail", "wing"), xy, np.ones((N, 3), bool))


OPTIONS = {"half": 4, "halves": [1, 4, 32], "size": (SIDE, SIDE)}


def test_a_network_that_sees_parts_is_perfect_and_its_nulls_are_not(scenes):
    x, labels, points = scenes
    found = judge(Spots(), x, perturb(x), labels, points, **OPTIONS)
    assert found.metrics["consistency"] == 100 and found.metrics["consistency_90"] == 100
    assert found.metrics["stability"] > 90 and found.metrics["stability_hits"] == found.metrics["stability"]
    assert found.metrics["on_parts"] == 1 and found.metrics["purity"] == 1
    assert found.metrics["above_nulls"] > 50 and found.metrics["constant_maps"] == 0
    assert found.metrics["null_location"] < 50 and found.metrics["null_permuted"] < 50
    assert found.prototypes["best_part"].to_pylist() == ["head", "tail", "wing"]
    assert found.prototypes["class"].to_pylist() == [0, 0, 1]
    assert found.prototypes["consistent"].to_pylist() == [True] * 3
    assert found.curve["half"].to_pylist() == [1, 4, 32] and found.curve["consistency"].to_pylist()[-1] == 100


def test_without_noise_nothing_moves(scenes):
    x, labels, points = scenes
    assert judge(Spots(), x, x, labels, points, **OPTIONS).metrics["stability"] == 100


def test_the_numbers_are_those_of_the_scores_themselves(scenes):
    x, labels, points = scenes
    hidden = points._replace(visible=np.random.default_rng(1).random((N, 3)) < 0.6)
    moved = x.roll(5, dims=3)  # peaks beside the parts
    found = judge(Spots(), moved, x, labels, hidden, size=(SIDE, SIDE), half=5, halves=[5], threshold=0.7, seed=4)
    hits, visible = parts_hit(Spots().maps(moved), hidden.xy, hidden.visible, 5, (SIDE, SIDE))
    expected = consistency(hits, visible, Spots().class_of().numpy(), labels.numpy(), 0.7, seed=4)
    assert found.metrics["consistency"] == expected.value
    assert (found.metrics["consistency_low"], found.metrics["consistency_high"]) == (expected.low, expected.high)
    assert found.prototypes["frequency"].to_pylist() == expected.per_prototype.tolist()


class Pixels(Spots):
    """The same at the resolution of the image."""

    def maps(self, x):
        return x


def test_other_changes_are_judged_on_their_images_with_the_parts_where_they_moved_to(scenes):
    x, labels, points = scenes
    rows, still = np.arange(0, N, 3), np.zeros((N, 2), int)
    parts = torch.from_numpy(rows)
    others = {
        "shift": Changed(perturb(x, "shift"), np.arange(N), moves(N)),
        "unfollowed": Changed(perturb(x, "shift"), np.arange(N), still),
        "some": Changed(x[parts].roll(9, dims=2), rows, still[rows]),
        "none": Changed(x[parts], rows, still[rows]),
    }
    found = judge(Pixels(), x, x, labels, points, size=(SIDE, SIDE), half=0, halves=[0], narrow=0, others=others)
    assert found.metrics["stability_shift"] == 100 and found.metrics["stability_unfollowed"] == 0
    assert found.metrics["stability_none"] == 100
    hits, visible = parts_hit(x, points.xy, points.visible, 0, (SIDE, SIDE))
    after, _ = parts_hit(others["some"].x, points.xy[rows], points.visible[rows], 0, (SIDE, SIDE))
    expected = stability(hits[rows], after, np.array([0, 0, 1]), labels.numpy()[rows])
    assert found.metrics["stability_some"] == expected.value < 100
    middle = judge(Pixels(), x, x, labels, points, size=(SIDE, SIDE), half=0, halves=[0], others=others, centre=True)
    assert middle.metrics["stability_some"] == 100  # it never moves


def test_the_narrow_window_is_judged_as_a_window_of_its_own(scenes):
    x, labels, points = scenes
    moved, noisy = x.roll(2, dims=3), x.roll(4, dims=3)
    wide = judge(Pixels(), moved, noisy, labels, points, size=(SIDE, SIDE), half=4, halves=[4], narrow=2)
    narrow = judge(Pixels(), moved, noisy, labels, points, size=(SIDE, SIDE), half=2, halves=[2])
    assert wide.metrics["consistency_narrow"] == narrow.metrics["consistency"] == 100
    assert wide.metrics["stability_narrow"] == narrow.metrics["stability"] < wide.metrics["stability"]
    assert "consistency_narrow" not in narrow.metrics
    closer = judge(Pixels(), moved, noisy, labels, points, size=(SIDE, SIDE), half=4, halves=[4], narrow=1)
    assert closer.metrics["consistency_narrow"] < 100


def test_points_outside_the_image_count_as_hidden(scenes):
    x, labels, points = scenes
    outside = points.xy.copy()
    outside[:, 0] = SIDE  # one pixel too far
    found = judge(Spots(), x, x, labels, points._replace(xy=outside), size=(SIDE, SIDE), half=64, halves=[64])
    assert "head" not in found.prototypes["best_part"].to_pylist()


@pytest.mark.parametrize(
    ("x", "y", "inside"),
    [
        (0, 3, True),
        (11, 3, True),
        (3, 0, True),
        (3, 7, True),
        (-0.5, 3, False),
        (11.5, 3, False),
        (3, -0.5, False),
        (3, 7.5, False),
        (9, 7.5, False),
    ],
)
def test_a_part_counts_up_to_the_border_of_the_image(x, y, inside):
    """Of two images of 8 x 12 one has the part under the peak; the other has it elsewhere, or outside."""
    images = torch.zeros(2, 3, 8, 12)
    images[:, 0, 4, 6] = 1.0
    points = PartPoints(("head",), np.array([[[6, 4]], [[x, y]]], np.float32), np.ones((2, 1), bool))
    labels = torch.zeros(2, dtype=torch.int64)
    found = judge(Pixels(), images, images, labels, points, size=(8, 12), half=0, halves=[0], threshold=0.5)
    assert found.prototypes["frequency"].to_pylist()[0] == (0.5 if inside else 1.0)
    assert found.prototypes["consistent"].to_pylist()[0]  # a frequency of the threshold is enough


def test_stability_of_hits_is_over_hits_of_the_own_class():
    """Two images and a prototype of their class: it hits the part in the first alone, and there noise moves it."""
    images, noisy = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    images[:, 0, 4, 6], noisy[0, 0, 1, 1], noisy[1, 0, 4, 6] = 1.0, 1.0, 1.0
    images[:, 2, 1, 1], noisy[:, 2, 1, 1] = 1.0, 1.0  # a prototype of another class, on a part
    points = PartPoints(
        ("head", "tail"), np.array([[[6, 4], [2, 7]], [[1, 1], [0, 7]]], np.float32), np.ones((2, 2), bool)
    )
    labels, options = torch.zeros(2, dtype=torch.int64), {"size": (8, 8), "half": 0, "halves": [0]}
    found = judge(Pixels(), images, noisy, labels, points, **options).metrics
    assert found["stability"] == 75 and found["stability_hits"] == 0  # of the second prototype both maps are constant
    missed = points._replace(xy=points.xy[[1, 1]])
    found = judge(Pixels(), images, noisy, labels, missed, **options).metrics
    assert found["stability_hits"] == 0  # no prototype of the class hits a part without noise


def test_purity_is_of_the_images_whose_highest_value_is_largest(scenes):
    x, labels, points = scenes
    brighter = x * torch.linspace(1, 2, N)[:, None, None, None]
    away = points._replace(xy=np.where(np.arange(N)[:, None, None] < N - 10, (points.xy + 9) % SIDE, points.xy))
    found = judge(Pixels(), brighter, x, labels, away, size=(SIDE, SIDE), half=0, halves=[0])
    assert found.metrics["purity"] == 1  # parts are where the ten brightest images have them


def test_unless_told_four_fifths_of_the_images_and_the_first_seed_count(scenes):
    x, labels, points = scenes
    moved = x.roll(5, dims=3)  # some peaks beside the parts
    found = [
        judge(Spots(), moved, x, labels, points, size=(SIDE, SIDE), half=5, halves=[5], **told).metrics
        for told in ({}, {"seed": 0}, {"threshold": 0.8}, {"seed": 1}, {"seed": -1})
    ]
    assert found[0] == found[1] == found[2] and found[3] != found[0] != found[4]


def test_one_that_fires_in_the_middle_is_stable_and_no_better_than_the_place(scenes):
    x, labels, points = scenes
    middle = points.xy.copy()
    middle[:, 0] = SIDE // 2
    found = judge(Spots(), x, perturb(x), labels, points._replace(xy=middle), centre=True, **OPTIONS)
    assert found.metrics["stability"] == 100
    assert found.metrics["consistency"] == found.metrics["null_location"] == 100
    assert found.metrics["above_nulls"] == 0


@pytest.mark.parametrize("centre", [False, True])
def test_a_constant_map_is_a_miss_for_every_network(scenes, centre):
    x, labels, points = scenes
    flat = x.clone()
    flat[::4] = 0  # half of class 0
    middle = points._replace(xy=np.full_like(points.xy, SIDE // 2))
    found = judge(Spots(), flat, flat, labels, middle, size=(SIDE, SIDE), half=64, halves=[64], centre=centre)
    assert found.metrics["constant_maps"] == pytest.approx(1 / 3)  # two prototypes of three, half of their images
    assert found.metrics["consistency"] == pytest.approx(100 / 3) and found.metrics["consistency_70"] < 100
    assert found.prototypes["frequency"].to_pylist() == [0.5, 0.5, 1.0]
    assert (found.peaks[::4] == -1).all() and (found.peaks[1::2] >= 0).all()


def test_prototypes_that_hit_parts_of_other_classes_alone_are_not_stable(scenes):
    x, labels, points = scenes
    away = points.xy.copy()
    for label, parts in ((0, [0, 1]), (1, [2])):  # the parts that a class's prototypes see lie outside
        away[np.ix_(labels.numpy() == label, parts)] = -1
    found = judge(Spots(), x, x, labels, points._replace(xy=away), size=(SIDE, SIDE), half=0, halves=[1])
    assert found.metrics["stability_hits"] == 0 and found.metrics["stability"] == 100


def test_accuracy_and_consistency_are_ranked_over_networks():
    accuracy, consistency = [0.1, 0.5, 0.7, 0.9], [10.0, 30, 20, 40]
    found = rank_correlation(accuracy, consistency, seed=0)
    assert found["accuracy_spearman"] == pytest.approx(stats.spearmanr(accuracy, consistency).statistic)
    assert -1 <= found["accuracy_spearman_low"] < found["accuracy_spearman"] <= found["accuracy_spearman_high"] <= 1
    rising = rank_correlation([1, 2, 3, 4], [1, 2, 3, 4], seed=0)
    assert list(rising.values()) == pytest.approx([1, 1, 1])
    assert all(np.isnan(value) for value in rank_correlation([1, 1, 1], [1, 2, 3], seed=0).values())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what has no rank correlation is not asked for one
        for constant in (0, 1):
            pair = [[0.1, 0.2, 0.4], [0.1, 0.3, 0.2]]
            pair[constant] = [0.5] * 3
            assert all(np.isnan(value) for value in rank_correlation(*pair, seed=0).values())
        assert rank_correlation([0.1, 0.2, 0.4], [0.1, 0.3, 0.2], 0)["accuracy_spearman"] == pytest.approx(0.5)
    with pytest.raises(InputError, match="2 networks"):
        rank_correlation([1, 2], [1, 2], seed=0)


def test_networks_are_resampled_with_replacement_all_of_them():
    # But for the first one they rise together.
    found = rank_correlation(list(range(1, 9)), [10, *range(1, 8)], seed=0)
    assert -0.9 < found["accuracy_spearman_low"] < found["accuracy_spearman"] == pytest.approx(1 / 3)
    assert found["accuracy_spearman_high"] == pytest.approx(1)
    # Which network comes last makes no difference but for the draws.
    turned = rank_correlation([*range(2, 9), 1], [*range(1, 8), 10], seed=0)
    assert turned["accuracy_spearman_low"] == pytest.approx(found["accuracy_spearman_low"], abs=0.15)


def test_random_prototypes_leave_the_network_alone():
    arguments = {"in_channels": 3, "height": SIDE, "width": SIDE, "classes": 3, "channels": 8}
    model = build("protopnet", **arguments).eval()
    before = model.prototypes.detach().clone()
    control = with_random_prototypes(model, 3)
    assert torch.equal(model.prototypes, before) and not torch.equal(control.prototypes, before)
    assert torch.equal(control.prototypes, with_random_prototypes(model, 3).prototypes)
    assert torch.allclose(control.prototypes.norm(dim=1), torch.ones(len(before)))
    x = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        control.add_on(control.blocks_after(control.front(x)[1])), model.add_on(model.blocks_after(model.front(x)[1]))
    )
    assert torch.equal(maps_of(model, x), model.maps(x))
