from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn
from torch.nn.utils import prune

from winnow.compress.global_magnitude import GradualSchedule, global_masks, masks_from_scores
from winnow.errors import InputError

quick = settings(max_examples=60, deadline=None)
# Few distinct values, so that magnitudes tie within and across layers.
tied_layers = st.lists(st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12), min_size=1, max_size=5).map(
    lambda rows: {f"layer{i}": torch.tensor(row) for i, row in enumerate(rows)}
)
keeps = st.floats(0.01, 1.0)


@st.composite
def distinct_layers(draw):
    """Layers of two axes whose magnitudes are all different."""
    sizes = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=5))
    total = sum(a * b for a, b in sizes)
    values = torch.tensor(draw(st.permutations(range(1, total + 1))), dtype=torch.float32)
    signs = torch.from_numpy(draw(arrays("float32", total, elements=st.sampled_from([-1.0, 1.0]))))
    parts = (values * signs).split([a * b for a, b in sizes])
    return {f"layer{i}": p.view(shape) for i, (p, shape) in enumerate(zip(parts, sizes, strict=True))}


def flat(masks):
    return torch.cat([mask.flatten() for mask in masks.values()]).tolist()


def kept(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


def by_hand(weights, keep):
    """The definition, one entry at a time: sort by magnitude, then by position."""
    values = [v for w in weights.values() for v in w.flatten().tolist()]
    order = sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))
    chosen = set(order[: round(keep * len(values))])
    return [i in chosen for i in range(len(values))]


def one_at_a_time(weights, keep, min_keep):
    """Minima first, then the largest entries left, one by one."""
    budget = round(keep * sum(w.numel() for w in weights.values()))
    chosen = set()
    for name, w in weights.items():
        ranked = sorted(range(w.numel()), key=lambda i: -abs(w.flatten()[i].item()))
        chosen |= {(name, i) for i in ranked[:min_keep]}
    rest = [
        (-abs(v), name, i)
        for name, w in weights.items()
        for i, v in enumerate(w.flatten().tolist())
        if (name, i) not in chosen
    ]
    chosen |= {(name, i) for _, name, i in sorted(rest)[: budget - len(chosen)]}
    return {name: [(name, i) in chosen for i in range(w.numel())] for name, w in weights.items()}


@quick
@given(tied_layers, keeps)
def test_masks_match_the_definition_also_where_magnitudes_tie(weights, keep):
    assert flat(global_masks(weights, keep)) == by_hand(weights, keep)


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9, 0.99])
def test_masks_are_those_of_torch_on_weights_without_ties(sparsity):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 6, 3, groups=6), nn.Linear(20, 30), nn.Linear(30, 5))
    weights = {f"{i}.weight": layer.weight.detach().clone() for i, layer in enumerate(model)}
    assert torch.cat([w.abs().flatten() for w in weights.values()]).unique().numel() == 858  # 54 + 54 + 600 + 150
    masks = global_masks(weights, 1 - sparsity)
    dropped = 858 - round((1 - sparsity) * 858)
    prune.global_unstructured(
        [(layer, "weight") for layer in model], pruning_method=prune.L1Unstructured, amount=dropped
    )
    for i, layer in enumerate(model):
        assert torch.equal(masks[f"{i}.weight"], layer.weight_mask.bool())


@quick
@given(tied_layers, keeps)
def test_exactly_k_are_kept_and_shapes_and_names_stay(weights, keep):
    masks = global_masks(weights, keep)
    assert sum(kept(masks).values()) == round(keep * sum(w.numel() for w in weights.values()))
    assert list(masks) == list(weights)
    assert all(m.dtype == torch.bool and m.shape == weights[n].shape for n, m in masks.items())


@quick
@given(distinct_layers(), keeps, st.sampled_from([2.0**-20, 0.25, 8.0]), st.randoms(use_true_random=False))
def test_masks_do_not_depend_on_a_common_scale_or_on_the_order_of_layers(weights, keep, scale, random):
    names = list(weights)
    random.shuffle(names)
    masks, moved = global_masks(weights, keep), global_masks({n: weights[n] * scale for n in names}, keep)
    assert all(torch.equal(masks[name], moved[name]) for name in names)


@quick
@given(tied_layers, keeps, keeps)
def test_masks_of_less_keep_lie_inside_those_of_more(weights, one, two):
    small, large = (global_masks(weights, keep) for keep in sorted((one, two)))
    assert all((~small[name] | large[name]).all() for name in weights)


@quick
@given(tied_layers, st.integers(0, 15))
def test_keep_1_keeps_everything_whatever_the_minimum(weights, min_keep):
    assert all(flat(global_masks(weights, 1.0, min_keep)))


@quick
@given(tied_layers, keeps, st.integers(0, 6))
def test_a_minimum_is_met_in_every_layer_without_touching_the_total_or_is_refused(weights, keep, min_keep):
    minima = {name: min(min_keep, w.numel()) for name, w in weights.items()}
    budget = round(keep * sum(w.numel() for w in weights.values()))
    if sum(minima.values()) > budget:
        with pytest.raises(InputError, match="layer"):
            global_masks(weights, keep, min_keep)
        return
    counts = kept(global_masks(weights, keep, min_keep))
    assert sum(counts.values()) == budget
    assert all(counts[name] >= minima[name] for name in weights)


@quick
@given(distinct_layers(), keeps, st.integers(0, 5))
def test_with_a_minimum_the_largest_weights_stay_that_it_allows(weights, keep, min_keep):
    budget = round(keep * sum(w.numel() for w in weights.values()))
    if sum(min(min_keep, w.numel()) for w in weights.values()) <= budget:
        masks = global_masks(weights, keep, min_keep)
        expected = one_at_a_time(weights, keep, min_keep)
        assert {n: m.flatten().tolist() for n, m in masks.items()} == expected


def test_pinning_one_layer_can_push_the_next_below_its_minimum():
    # One threshold keeps 0 of a, 2 of b, 4 of c; pinning a at 2 leaves 1 to b, which is pinned in turn.
    weights = {
        "a": torch.tensor([0.1, 0.2, 0.3]),
        "b": torch.tensor([5.0, 4.0, 0.4]),
        "c": torch.tensor([9.0, 8.0, 7.0, 6.0]),
    }
    assert kept(global_masks(weights, 0.6)) == {"a": 0, "b": 2, "c": 4}
    assert kept(global_masks(weights, 0.6, min_keep=2)) == {"a": 2, "b": 2, "c": 2}
    assert flat(global_masks(weights, 0.6, 2)) == [0, 1, 1, 1, 1, 0, 1, 1, 0, 0]


def test_a_layer_smaller_than_the_minimum_is_not_pruned():
    weights = {"small": torch.tensor([1e-3, 1e-4]), "large": torch.arange(1.0, 31.0)}
    masks = global_masks(weights, 0.25, min_keep=4)
    assert masks["small"].all() and int(masks["large"].sum()) == 6


def test_a_budget_that_the_minima_just_fill_is_allowed_and_one_less_is_not():
    weights = {f"layer{i}": torch.arange(1.0, 6.0) * 10**i for i in range(4)}
    assert set(kept(global_masks(weights, 8 / 20, min_keep=2)).values()) == {2}
    with pytest.raises(InputError, match="min_keep: 2 entries of each layer are 8 in all .* only 7 are kept"):
        global_masks(weights, 7 / 20, min_keep=2)


def test_minima_that_exceed_the_budget_name_the_layer_that_asks_for_most():
    weights = {"small": torch.ones(1), "large": torch.ones(5), "middle": torch.ones(3)}
    with pytest.raises(InputError, match=r"4 entries of each layer are 8 in all \(4 of them in large\), but only 4"):
        global_masks(weights, 4 / 9, min_keep=4)


@quick
@given(tied_layers, st.lists(keeps, min_size=2, max_size=4), st.integers(0, 3), st.randoms(use_true_random=False))
def test_masks_within_earlier_ones_are_nested_although_the_weights_move(weights, keep, minimum, random):
    masks = None
    for share in sorted(keep, reverse=True):
        moved = {n: torch.tensor([random.choice([-2.0, 0.0, 1.0, 3.0]) for _ in w]) for n, w in weights.items()}
        budget = round(share * sum(w.numel() for w in weights.values()))
        if sum(min(minimum, w.numel()) for w in weights.values()) > budget:
            return
        tighter = masks_from_scores(moved, share, minimum, within=masks)
        assert sum(kept(tighter).values()) == budget
        if masks is not None:
            assert all((~tighter[name] | masks[name]).all() for name in weights)
        masks = tighter


def test_within_earlier_masks_the_best_of_what_is_left_stays():
    scores = {"a": torch.tensor([9.0, 1.0, -3.0, 2.0]), "b": torch.tensor([-7.0, 8.0])}
    within = {"a": torch.tensor([False, True, True, True]), "b": torch.tensor([True, False])}
    assert flat(masks_from_scores(scores, 0.5, within=within)) == [0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("keep", [0, -0.1, 1.0001, float("nan"), float("inf")])
def test_a_keep_outside_0_to_1_is_refused(keep):
    with pytest.raises(InputError, match="keep: is .*; give more than 0 and at most 1"):
        global_masks({"a": torch.ones(3)}, keep)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_refused_with_the_name_of_its_layer(bad):
    with pytest.raises(InputError, match="second.weight: .* NaN or infinite"):
        global_masks({"first.weight": torch.ones(3), "second.weight": torch.tensor([1.0, bad])}, 0.5)


def test_no_weights_at_all_are_refused():
    with pytest.raises(InputError, match="no weight that can be pruned"):
        global_masks({}, 0.5)


def test_weights_are_left_as_they_are():
    weight = torch.arange(-3.0, 3.0)
    global_masks({"a": weight}, 0.5)
    assert torch.equal(weight, torch.arange(-3.0, 3.0))


def test_a_linear_schedule_rises_in_equal_steps_from_0_to_the_target_and_stays():
    schedule = GradualSchedule(0.9, 3)
    assert [schedule(i) for i in range(6)] == pytest.approx([0, 0.3, 0.6, 0.9, 0.9, 0.9])
    assert schedule(3) == schedule(99) == 0.9 and schedule(-1) == 0


def test_a_cubic_schedule_is_that_of_zhu_and_gupta():
    schedule = GradualSchedule(0.8, 4, "cubic")
    # s_f + (s_i - s_f) (1 - t / n)^3 with s_i = 0, their equation 1.
    assert [schedule(i) for i in range(5)] == pytest.approx([0.8 - 0.8 * (1 - i / 4) ** 3 for i in range(5)])


@pytest.mark.parametrize("shape", ["linear", "cubic"])
def test_one_step_prunes_at_once_and_a_target_of_0_prunes_nothing(shape):
    assert [GradualSchedule(0.7, 1, shape)(i) for i in range(3)] == [0, 0.7, 0.7]
    assert [GradualSchedule(0.0, 2, shape)(i) for i in range(3)] == [0, 0, 0]


def test_a_schedule_is_not_changed_once_it_is_checked():
    with pytest.raises(FrozenInstanceError):
        GradualSchedule(0.5, 3).target = 2.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1.0, 3), "sparsity"),
        ((-0.1, 3), "sparsity"),
        ((0.5, 0), "gradual_steps"),
        ((0.5, 3, "cube"), "linear, cubic"),
    ],
)
def test_a_wrong_schedule_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        GradualSchedule(*arguments)
