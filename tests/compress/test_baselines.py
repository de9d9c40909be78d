import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from winnow.compress import METHODS, masks_for
from winnow.compress._baselines import (
    TEMPERATURE,
    erk_scores,
    grasp_scores,
    lamp_scores,
    random_scores,
    snip_scores,
    synflow_scores,
    uniform_scores,
)
from winnow.compress._masking import prunable_weights
from winnow.compress.global_magnitude import masks_from_scores
from winnow.errors import InputError

generator = torch.Generator().manual_seed(0)
WEIGHTS = {
    "conv.weight": torch.randn(8, 3, 3, 3, generator=generator),
    "depthwise.weight": torch.randn(16, 1, 3, 3, generator=generator) * 0.1,
    "linear.weight": torch.randn(30, 50, generator=generator) * 0.02,
}
ANY_MODEL = sorted(METHODS.keys() - {"relevance"})  # relevance has no rule for loops: test_methods.py
some_layer = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=20)


def counts(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


@pytest.mark.parametrize("keep", [0.02, 0.1, 0.5, 1.0])
def test_uniform_keeps_the_same_share_of_every_layer_and_its_largest_weights(keep):
    masks = masks_from_scores(uniform_scores(WEIGHTS), keep)
    assert sum(counts(masks).values()) == round(keep * 1860)
    for name, mask in masks.items():
        assert abs(int(mask.sum()) - keep * mask.numel()) <= 1  # a count is whole
        if mask.any() and not mask.all():
            assert WEIGHTS[name][mask].abs().min() >= WEIGHTS[name][~mask].abs().max()


def erk_densities(shapes, keep):
    """The iteration of Evci et al.'s code: the densest layer is capped at 1, the rest share on."""
    dense = set()
    while True:
        budget = keep * sum(torch.Size(s).numel() for s in shapes.values())
        budget -= sum(torch.Size(shapes[name]).numel() for name in dense)
        raw = {n: sum(s) / torch.Size(s).numel() for n, s in shapes.items() if n not in dense}
        epsilon = budget / sum(raw[n] * torch.Size(shapes[n]).numel() for n in raw)
        over = {n for n in raw if raw[n] * epsilon > 1}
        if not over:
            return {n: 1.0 if n in dense else raw[n] * epsilon for n in shapes}
        dense |= {n for n in over if raw[n] == max(raw.values())}


@pytest.mark.parametrize("keep", [0.02, 0.1, 0.3, 0.6, 1.0])
def test_erk_gives_the_densities_of_the_authors_iteration(keep):
    masks = masks_from_scores(erk_scores(WEIGHTS), keep)
    expected = erk_densities({n: tuple(w.shape) for n, w in WEIGHTS.items()}, keep)
    assert sum(counts(masks).values()) == round(keep * 1860)
    for name, mask in masks.items():
        assert abs(int(mask.sum()) - expected[name] * mask.numel()) <= 1  # a count is whole
        if mask.any() and not mask.all():
            assert WEIGHTS[name][mask].abs().min() >= WEIGHTS[name][~mask].abs().max()


def test_erk_densities_saturate_in_this_example_so_that_the_case_is_covered():
    assert erk_densities({n: tuple(w.shape) for n, w in WEIGHTS.items()}, 0.6)["depthwise.weight"] == 1.0


@settings(deadline=None)
@given(some_layer)
def test_lamp_is_the_square_over_the_sum_of_squares_not_smaller(row):
    found = lamp_scores({"w": torch.tensor(row).view(1, -1)})["w"]
    assert found.shape == (1, len(row))
    order = sorted(range(len(row)), key=lambda i: (-abs(row[i]), i))
    for rank, i in enumerate(order):
        total = sum(row[j] ** 2 for j in order[: rank + 1])
        assert found[0, i].item() == pytest.approx(row[i] ** 2 / total if row[i] else 0.0)


def test_lamp_does_not_depend_on_the_scale_of_a_layer_and_never_empties_one():
    scaled = {name: w * 10.0 ** (-3 * i) for i, (name, w) in enumerate(WEIGHTS.items())}
    masks, again = (masks_from_scores(lamp_scores(w), 0.01) for w in (WEIGHTS, scaled))
    assert counts(masks) == counts(again)
    assert min(counts(masks).values()) > 0


def test_snip_is_the_magnitude_of_weight_times_gradient():
    scores = snip_scores({"w": torch.tensor([[1.0, -2.0], [3.0, 0.0]])}, {"w": torch.tensor([[-4.0, 0.5], [2.0, 9.0]])})
    assert scores["w"].tolist() == [[4.0, 1.0], [6.0, 0.0]]


def test_snip_on_a_model_predicts_what_a_small_scaling_of_one_weight_does_to_the_loss(model, blobs):
    model.double().train()
    blobs.splits["train"] = (blobs.splits["train"][0].double(), blobs.splits["train"][1])
    before = {name: t.clone() for name, t in model.state_dict().items()}
    scores = METHODS["snip"](model, blobs, 0, 0.5)
    assert model.training and all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    x, y = blobs.splits["train"]  # 90 images: the 512 asked for are all of them
    model.eval()
    for name, weight in prunable_weights(model).items():
        place = torch.unravel_index(scores[name].argmax(), weight.shape)
        loss = []
        for factor in (1 + 1e-5, 1 - 1e-5):
            with torch.no_grad():
                weight[place] = before[name][place] * factor
                loss.append(functional.cross_entropy(model(x), y).item())
        weight.data.copy_(before[name])
        # Central difference in float64: an error of the order 1e-10.
        assert abs(loss[0] - loss[1]) / 2e-5 == pytest.approx(scores[name][place].item(), rel=1e-4)


def test_grasp_predicts_what_a_small_scaling_of_one_weight_does_to_the_squared_gradient(model, blobs):
    model.double().train()
    x, y = blobs.splits["train"] = (blobs.splits["train"][0].double(), blobs.splits["train"][1])
    before = {name: t.clone() for name, t in model.state_dict().items()}
    scores = grasp_scores(model, lambda cooled: functional.cross_entropy(cooled(x), y))
    assert model.training and all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    model.eval()
    weights = prunable_weights(model)

    def flow():
        loss = functional.cross_entropy(model(x) / TEMPERATURE, y)
        return sum(float((g**2).sum()) for g in torch.autograd.grad(loss, list(weights.values()))) / 2

    for name, weight in weights.items():
        for place in (scores[name].argmax(), scores[name].argmin()):
            place = torch.unravel_index(place, weight.shape)
            flows = []
            for factor in (1 + 1e-5, 1 - 1e-5):
                weight.data[place] = before[name][place] * factor
                flows.append(flow())
            weight.data.copy_(before[name])
            slope = (flows[0] - flows[1]) / 2e-5
            assert slope == pytest.approx(scores[name][place].item(), rel=1e-3, abs=1e-6 * flows[0])
    assert TEMPERATURE == 200 and METHODS["grasp"](model, blobs, 0, 0.5).keys() == weights.keys()


def flows_of(weights):
    """Score of each weight of linear layers: itself times all paths from the inputs to it and from it on."""
    scores = []
    for i, weight in enumerate(weights):
        before, after = torch.ones(weight.shape[1]).double(), torch.ones(weight.shape[0]).double()
        if i:
            before = torch.linalg.multi_dot([*reversed(weights[:i]), torch.ones(len(weights[0].T), 1).double()])[:, 0]
        for later in reversed(weights[i + 1 :]):
            after = torch.ones(later.shape[0]).double() if later is weights[-1] else after
            after = after @ later
        scores.append(weight * after[:, None] * before)
    return scores


def test_synflow_is_the_sum_over_paths_and_prunes_round_by_round():
    model = nn.Sequential(
        nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False), nn.Linear(3, 2, bias=False)
    )
    weights = [w.detach().double().abs() for w in prunable_weights(model).values()]
    example = torch.zeros(2, 4)
    once = list(synflow_scores(model, example, 0.5, rounds=1).values())
    assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(once, flows_of(weights), strict=True))
    assert once[0].sum() == pytest.approx(float(once[2].sum()))  # every layer carries all paths
    twice = list(synflow_scores(model, example, 0.25, rounds=2).values())
    whole = torch.cat([s.flatten() for s in flows_of(weights)])
    limit = whole.topk(round(0.5 * len(whole))).values.min()
    left = [torch.where(s >= limit, w, 0.0) for s, w in zip(flows_of(weights), weights, strict=True)]
    assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(twice, flows_of(left), strict=True))
    assert sum(int((s == 0).sum()) for s in twice) >= len(whole) // 2
    assert model[0].weight.dtype == torch.float32 and any((p < 0).any() for p in model.parameters())


def test_random_scores_are_uniform_and_reproducible():
    one, same, other = (random_scores(WEIGHTS, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(one[n], same[n]) and not torch.equal(one[n], other[n]) for n in WEIGHTS)
    assert all(scores.min() >= 0 and scores.max() < 1 for scores in one.values())
    kept = counts(masks_from_scores(one, 0.3))
    assert all(abs(kept[n] / w.numel() - 0.3) < 0.1 for n, w in WEIGHTS.items())
    assert len(set(torch.cat([s.flatten() for s in one.values()]).tolist())) == 1860


@pytest.mark.parametrize("method", ANY_MODEL)
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.95])
def test_every_method_keeps_the_same_number_of_weights(method, sparsity, model, blobs):
    weights = prunable_weights(model)
    masks = masks_for(method, model, blobs, sparsity, seed=0)
    assert list(masks) == list(weights)
    assert sum(counts(masks).values()) == round((1 - sparsity) * sum(w.numel() for w in weights.values()))


@pytest.mark.parametrize("method", ANY_MODEL)
def test_every_method_takes_a_minimum_as_a_share_of_all_weights(method, model, blobs):
    weights = prunable_weights(model)
    total = sum(w.numel() for w in weights.values())
    masks = masks_for(method, model, blobs, 0.9, seed=0, min_keep_share=0.005)
    assert all(int(m.sum()) >= min(round(0.005 * total), m.numel()) for m in masks.values())
    assert sum(counts(masks).values()) == round(0.1 * total)


@pytest.mark.parametrize("method", ANY_MODEL)
def test_every_method_refuses_a_model_with_a_nan_and_names_the_layer(method, model, blobs):
    name, weight = list(prunable_weights(model).items())[-1]
    weight.data.view(-1)[0] = float("nan")
    with pytest.raises(InputError, match="weight.*NaN or infinite"):
        masks_for(method, model, blobs, 0.5, seed=0)


@pytest.mark.parametrize("method", ANY_MODEL)
def test_every_method_stays_inside_earlier_masks_whatever_the_weights_are_now(method, model, blobs):
    earlier = masks_for("random", model, blobs, 0.5, seed=7)
    masks = masks_for(method, model, blobs, 0.8, seed=0, within=earlier)
    assert all((~masks[name] | earlier[name]).all() for name in masks)


def test_methods_differ_from_one_another(blobs, model):
    masks = [torch.cat([m.flatten() for m in masks_for(x, model, blobs, 0.9, 0).values()]) for x in ANY_MODEL]
    assert not any(torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])


def test_masks_of_random_and_snip_follow_the_seed(blobs, model):
    def all_of(method, seed):
        return torch.cat([m.flatten() for m in masks_for(method, model, blobs, 0.9, seed).values()])

    assert torch.equal(all_of("random", 1), all_of("random", 1))
    assert not torch.equal(all_of("random", 1), all_of("random", 2))
    assert torch.equal(all_of("erk", 1), all_of("erk", 2))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "lampp"}, "did you mean lamp"),
        ({"method": "zzz"}, "use one of global_magnitude, uniform"),
        ({"sparsity": 1.0}, "sparsity: is 1.0; give at least 0 and below 1"),
        ({"sparsity": -0.1}, "sparsity"),
        ({"sparsity": float("nan")}, "sparsity"),
        ({"min_keep_share": -0.1}, "min_keep_share"),
        ({"min_keep_share": 1.0}, "min_keep_share"),
        ({"min_keep_share": 0.9}, "min_keep: .* only"),
    ],
)
def test_wrong_settings_are_one_clear_line(changes, words, model, blobs):
    settings = {"method": "lamp", "sparsity": 0.5, "seed": 0} | changes
    with pytest.raises(InputError, match=words) as error:
        masks_for(settings.pop("method"), model, blobs, **settings)
    assert "\n" not in str(error.value)
