"""Losses are those of loops over their definitions; training moves what it should and resumes to the same bits."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from winnow.errors import InputError
from winnow.models import build
from winnow.train.protopnet import (
    LossWeights,
    align_shallow,
    cluster,
    compute_fronts,
    fit_protopnet,
    orthogonality,
    outputs_of,
    sdfa,
    separation,
)
from winnow.train.prototype_push import last_layer, nearest_patches, prune, push

IMAGE = {"in_channels": 3, "height": 32, "width": 32, "classes": 3}
CLASS_OF = torch.tensor([0, 0, 1, 1, 2, 2])


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(similarity="projection", head="aggregate", seed=0):
    return build("protopnet", seed=seed, similarity=similarity, head=head, channels=8, per_class=2, **IMAGE)


def coloured(n=24, seed=0):
    """Images of three colours under noise, and which colour."""
    labels = torch.arange(n) % 3
    x = 0.3 * randn(n, 3, 32, 32, seed=seed)
    x[torch.arange(n), labels] += 1.5
    return x, labels


def fronts(model, n=24):
    return {s: compute_fronts(model.eval(), *coloured(n, seed)) for seed, s in enumerate(("train", "valid"))}


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_cluster_and_separation_are_loops_over_prototypes(seed):
    distances, labels = randn(7, 6, seed=seed), torch.arange(7) % 3
    own = [min(distances[i, j] for j in range(6) if CLASS_OF[j] == labels[i]) for i in range(7)]
    other = [min(distances[i, j] for j in range(6) if CLASS_OF[j] != labels[i]) for i in range(7)]
    assert float(cluster(distances, labels, CLASS_OF)) == pytest.approx(float(np.mean(own)), abs=1e-6)
    assert float(separation(distances, labels, CLASS_OF)) == pytest.approx(float(np.mean(other)), abs=1e-6)


def test_orthogonality_sums_what_each_class_lacks_of_an_orthonormal_basis():
    prototypes = randn(6, 4)
    expected = sum(np.abs(p @ p.T - np.eye(2)).sum() for p in prototypes.numpy().reshape(3, 2, 4))
    assert float(orthogonality(prototypes, 3)) == pytest.approx(expected, rel=1e-5)
    assert float(orthogonality(torch.eye(6)[:, :6], 3)) == 0


def test_each_position_of_the_coarse_grid_takes_the_block_that_it_covers():
    fine = torch.arange(2 * 6 * 4).view(1, 2, 6, 4)
    stacked = align_shallow(fine.float(), (3, 2))
    assert stacked.shape == (1, 8, 3, 2)
    for y in range(3):
        for x in range(2):
            block = fine[0, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            assert stacked[0, :, y, x].tolist() == block.flatten().tolist()


@pytest.mark.parametrize(("size", "grid"), [((6, 5), (3, 2)), ((6, 4), (4, 4)), ((2, 2), (4, 4)), ((6, 6), (3, 2))])
def test_a_grid_that_does_not_divide_the_map_is_refused(size, grid):
    with pytest.raises(ValueError, match="does not divide"):
        align_shallow(torch.zeros(1, 1, *size), grid)


def sdfa_by_loops(maps, shallow, deep, labels, class_of, threshold):
    def cosine(features, a, b):
        return float(torch.nn.functional.cosine_similarity(features[:, a], features[:, b], dim=0))

    found = []
    for i in range(len(labels)):
        for j in range(len(class_of)):
            if class_of[j] != labels[i]:
                continue
            peak = int(maps[i, j].flatten().argmax())
            for position in range(maps[i, j].numel()):
                difference = cosine(deep[i].flatten(1), peak, position) - cosine(shallow[i].flatten(1), peak, position)
                found.append(max(0.0, abs(difference) - threshold))
    return np.mean(found)


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 0.4]))
@settings(max_examples=20, deadline=None)
def test_alignment_is_a_loop_over_peaks_and_positions(seed, threshold):
    maps, shallow, deep = (
        randn(4, 6, 2, 3, seed=seed),
        randn(4, 5, 2, 3, seed=seed + 1),
        randn(4, 3, 2, 3, seed=seed + 2),
    )
    labels = torch.tensor([2, 0, 1, 1])
    expected = sdfa_by_loops(maps, shallow, deep, labels, CLASS_OF, threshold)
    assert float(sdfa(maps, shallow, deep, labels, CLASS_OF, threshold)) == pytest.approx(expected, abs=1e-5)


def test_alignment_sees_neither_scale_nor_order_of_channels_and_spares_the_shallow_map():
    maps, features, labels = randn(4, 6, 2, 3), randn(4, 5, 2, 3, seed=1), torch.tensor([2, 0, 1, 1])
    shuffled = 3.0 * features[:, [3, 1, 4, 0, 2]] * (1 + torch.rand(4, 1, 2, 3))
    assert float(sdfa(maps, features, shuffled, labels, CLASS_OF, 1e-5)) == 0
    shallow, deep = randn(4, 5, 2, 3, seed=2).requires_grad_(), features.requires_grad_()
    sdfa(maps, shallow, deep, labels, CLASS_OF).backward()
    assert shallow.grad is None and deep.grad.abs().sum() > 0


@pytest.mark.parametrize(("similarity", "head"), [("l2log", "linear"), ("projection", "aggregate")])
def test_training_moves_what_it_should_and_learns(similarity, head):
    model = network(similarity, head)
    data = fronts(model)
    before = copy.deepcopy(model.state_dict())
    rows = fit_protopnet(model, data, epochs=6, warm_epochs=2, batch_size=8, seed=3)
    after = model.state_dict()
    for name, tensor in before.items():
        index = int(name.split(".")[1]) if name.startswith("blocks.") else None
        stays = name.startswith(("stem.", "active", "input_")) or "running" in name or "num_batches" in name
        stays = stays or (index is not None and index < 5) or name == "head"
        assert torch.equal(tensor, after[name]) == stays, name
    if similarity == "projection":
        assert torch.allclose(model.prototypes.norm(dim=1), torch.ones(6), atol=1e-6)
    steps = [step for metric, _, step in rows if metric == "loss"]
    assert steps == list(range(1, 19))
    accuracy = [value for metric, value, _ in rows if metric == "valid_accuracy"]
    assert len(accuracy) == 6 and accuracy[-1] > 0.6  # chance is a third, the trunk random


def test_learning_rates_follow_the_two_phases():
    model = network()
    rows = fit_protopnet(model, fronts(model, 6), epochs=9, warm_epochs=2, batch_size=6, seed=0)
    rates = [value for metric, value, _ in rows if metric == "learning_rate"]
    assert rates == pytest.approx([3e-3] * 5 + [6e-4] * 3 + [1.2e-4])


def test_alignment_joins_after_the_warm_up_alone():
    losses = {}
    for weight in (0.0, 5.0):
        model = network()
        rows = fit_protopnet(
            model,
            fronts(model),
            weights=LossWeights(alignment=weight, threshold=0.0),
            epochs=2,
            warm_epochs=1,
            batch_size=24,
        )
        losses[weight] = [value for metric, value, _ in rows if metric == "loss"]
    assert losses[0.0][0] == losses[5.0][0]
    assert losses[5.0][1] > losses[0.0][1]


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path):
    class Stop(Exception):
        pass

    def stop(at):
        def progress(done, total):
            assert total == 12
            if done == at:
                raise Stop

        return progress

    settings = {"epochs": 4, "warm_epochs": 2, "batch_size": 8, "seed": 1}
    whole = network()
    data = fronts(whole)
    expected = fit_protopnet(whole, data, **settings)
    for at in (4, 10):
        with pytest.raises(Stop):
            fit_protopnet(network(), data, checkpoint=tmp_path / "c.safetensors", progress=stop(at), **settings)
    resumed = network()
    assert fit_protopnet(resumed, data, checkpoint=tmp_path / "c.safetensors", **settings) == expected
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(("epochs", "warm"), [(3, 3), (2, 4), (2, -1)])
def test_a_warm_up_that_fills_the_training_is_refused(epochs, warm):
    model = network()
    with pytest.raises(InputError, match="warm_epochs: is"):
        fit_protopnet(model, fronts(model, 6), epochs=epochs, warm_epochs=warm)


@pytest.mark.parametrize("similarity", ["l2log", "projection"])
def test_pushed_prototypes_are_training_patches_of_their_class(similarity):
    model = network(similarity).eval()
    front = fronts(model)["train"]
    with torch.no_grad():
        features = model.add_on(model.blocks_after(front.middle))
    if similarity == "projection":
        features = torch.nn.functional.normalize(features, dim=1)
    before = model.prototypes.detach().clone()
    projection = push(model, front)
    height, width = features.shape[2:]
    for j, label in enumerate(model.class_of()):
        image, y, x = (int(part[j]) for part in projection[:3])
        assert front.labels[image] == label
        torch.testing.assert_close(model.prototypes[j].detach(), features[image, :, y, x], atol=1e-6, rtol=0)
        every = {
            (i, a, b): float((features[i, :, a, b] - before[j]).square().sum())
            for i in range(len(features))
            if front.labels[i] == label
            for a in range(height)
            for b in range(width)
        }
        assert every[image, y, x] == pytest.approx(min(every.values()), abs=1e-5)
        kept = -(features[image, :, y, x] @ before[j]) if similarity == "projection" else every[image, y, x]
        assert float(projection.distance[j]) == pytest.approx(float(kept), abs=1e-4)
    once = model.prototypes.detach().clone()
    again = push(model, front)
    assert torch.equal(model.prototypes.detach(), once)
    assert torch.allclose(again.distance, torch.full((6,), -1.0 if similarity == "projection" else 0.0), atol=1e-5)


def test_a_class_without_images_cannot_be_pushed():
    model = network()
    x, labels = coloured(6)
    with pytest.raises(InputError, match="class 2 has no training image"):
        nearest_patches(model, compute_fronts(model, x[labels < 2], labels[labels < 2]))


@pytest.mark.parametrize("l1", [1e-4, 1e-2])
def test_the_last_layer_reaches_the_minimum_that_another_solver_finds(l1):
    model = network(head="linear")
    scores, labels = randn(40, 6, seed=2).double(), torch.arange(40) % 3
    other = (CLASS_OF[None] != torch.arange(3)[:, None]).double().flatten().numpy()

    def objective(halves):
        plus, minus = halves[:18], halves[18:]  # |w| = plus + minus where both are at least 0
        w = torch.tensor(plus - minus, requires_grad=True)
        loss = torch.nn.functional.cross_entropy(scores @ w.view(3, 6).T, labels)
        (gradient,) = torch.autograd.grad(loss, w)
        slope = l1 * np.concatenate([other, other])
        return float(loss.detach()) + slope @ halves, np.concatenate([gradient.numpy(), -gradient.numpy()]) + slope

    best = minimize(objective, np.ones(36), jac=True, bounds=[(0, None)] * 36, options={"maxiter": 5000, "ftol": 1e-15})
    history = last_layer(model, scores.float(), labels, l1=l1, iterations=3000)
    assert history[-1] == pytest.approx(best.fun, abs=1e-6)
    assert all(a >= b for a, b in zip(history, history[1:], strict=False))
    model = network(head="linear")
    short = last_layer(model, scores.float(), labels, l1=l1)
    assert len(short) == 21 and short[-1] < short[0]
    logits = scores.float() @ model.head.T
    shown = torch.nn.functional.cross_entropy(logits, labels) + l1 * (
        model.head.flatten().abs() @ torch.tensor(other).float()
    )
    assert float(shown.detach()) == pytest.approx(short[-1], abs=1e-5)


def test_an_aggregating_head_has_no_last_layer_to_fit():
    with pytest.raises(InputError, match="use head linear"):
        last_layer(network(), randn(4, 6), torch.arange(4) % 3)


def test_prototypes_near_to_other_classes_are_switched_off():
    model = network().eval()
    front = fronts(model)["train"]
    distances = outputs_of(model, front).distances
    counts = []
    for j in range(6):
        nearest = sorted(range(24), key=lambda i: (float(distances[i, j]), i))[:6]
        counts.append(sum(int(front.labels[i] == CLASS_OF[j]) for i in nearest))
    keep = sorted(counts)[3]  # at least one goes, or all stay
    for threshold in (1, keep):
        fresh = network().eval()
        expected = [count >= threshold for count in counts]
        if all(any(expected[2 * c : 2 * c + 2]) for c in range(3)):
            assert prune(fresh, front, 6, threshold).tolist() == expected
            assert fresh.active.bool().tolist() == expected
        else:
            with pytest.raises(InputError, match="would keep no prototype"):
                prune(fresh, front, 6, threshold)


@pytest.mark.parametrize(("k", "keep"), [(0, 0), (3, 4), (25, 3), (6, 0)])
def test_impossible_counts_are_refused(k, keep):
    model = network()
    with pytest.raises(InputError, match="prune: k is"):
        prune(model, fronts(model)["train"], k, keep)
