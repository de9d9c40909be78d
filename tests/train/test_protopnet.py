"""Losses are those of loops over their definitions; training moves what it should and resumes to the same bits."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.prototype_networks import CLASS_OF, fronts, network, randn
from winnow.errors import InputError
from winnow.train.protopnet import (
    Fronts,
    LossWeights,
    _Features,
    align_shallow,
    cluster,
    fit_protopnet,
    orthogonality,
    outputs_of,
    sdfa,
    separation,
)


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
    assert torch.equal(align_shallow(fine.float(), (6, 4)), fine)


@pytest.mark.parametrize(("size", "grid"), [((6, 5), (3, 2)), ((6, 4), (4, 4)), ((2, 2), (4, 4)), ((6, 6), (3, 2))])
def test_a_grid_that_does_not_divide_the_map_is_refused(size, grid):
    with pytest.raises(InputError, match=rf"the grid of {grid[0]} x {grid[1]} does not divide it"):
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
    # The parts of the loss are told as they are at the end, before they are weighed.
    out, valid = outputs_of(model, data["valid"]), data["valid"]
    expected = {
        "accuracy": (out.logits.argmax(1) == valid.labels).double().mean(),
        "cross_entropy": torch.nn.functional.cross_entropy(out.logits, valid.labels),
        "cluster": cluster(out.distances, valid.labels, CLASS_OF),
        "separation": separation(out.distances, valid.labels, CLASS_OF),
        "alignment": sdfa(out.maps, valid.shallow, out.deep, valid.labels, CLASS_OF),
        "orthogonality": orthogonality(model.prototypes, 3),
    }
    told = {metric.removeprefix("valid_"): value for metric, value, _ in rows if metric.startswith("valid_")}
    assert told == pytest.approx({name: value.item() for name, value in expected.items()}, abs=1e-6)


def test_learning_rates_follow_the_two_phases():
    model = network()
    rows = fit_protopnet(model, fronts(model, 6), epochs=9, warm_epochs=2, batch_size=6, seed=0)
    rates = [value for metric, value, _ in rows if metric == "learning_rate"]
    assert rates == pytest.approx([3e-3] * 5 + [6e-4] * 3 + [1.2e-4])


@pytest.mark.parametrize("head", ["linear", "aggregate"])
def test_each_kind_of_parameter_has_the_papers_rate_and_decay(head, monkeypatch):
    made, adam = [], torch.optim.Adam

    def noted(groups, **options):
        made.append([(group["params"], group["lr"], group.get("weight_decay", 0.0)) for group in groups])
        return adam(groups, **options)

    monkeypatch.setattr(torch.optim, "Adam", noted)
    model = network(head=head)
    fit_protopnet(model, fronts(model, 6), epochs=2, warm_epochs=1, batch_size=6)
    heads = [([model.aggregation], 1e-6, 0.0)] if head == "aggregate" else []
    first = [(list(model.add_on.parameters()), 3e-3, 1e-3), ([model.prototypes], 3e-3, 0.0), *heads]
    trunk = [p for block in model.blocks[5:] for p in block.parameters()]
    for found, expected in zip(made, [first, [*first, (trunk, 1e-4, 1e-3)]], strict=True):
        assert [(rate, decay) for _, rate, decay in found] == [(rate, decay) for _, rate, decay in expected]
        for (ours, _, _), (theirs, _, _) in zip(found, expected, strict=True):
            assert len(ours) == len(theirs) and all(a is b for a, b in zip(ours, theirs, strict=True))
    assert not any(p.requires_grad for block in model.blocks[:5] for p in block.parameters())
    assert not any(p.requires_grad for p in model.stem.parameters())


def test_the_loss_of_a_batch_is_the_sum_of_its_weighed_parts():
    weights = LossWeights()
    assert (weights.cluster, weights.separation, weights.orthogonality) == (0.8, 0.08, 1e-4)
    assert (weights.alignment, weights.threshold) == (0.5, 0.1)
    for similarity in ("projection", "l2log"):
        model = network(similarity)
        data = fronts(model)
        with torch.no_grad():
            out, train = outputs_of(model, data["train"]), data["train"]
            plain = torch.nn.functional.cross_entropy(out.logits, train.labels)
            plain = plain + 0.8 * cluster(out.distances, train.labels, CLASS_OF)
            plain = plain - 0.08 * separation(out.distances, train.labels, CLASS_OF)
            if similarity == "projection":
                plain = plain + 1e-4 * orthogonality(model.prototypes, 3)
            aligned = plain + 0.5 * sdfa(out.maps, train.shallow, out.deep, train.labels, CLASS_OF, 0.1)
        joint = fit_protopnet(copy.deepcopy(model), data, epochs=1, warm_epochs=0, batch_size=24)
        warm = fit_protopnet(copy.deepcopy(model), data, epochs=2, warm_epochs=1, batch_size=24)
        assert joint[0][:1] + joint[0][2:] == ("loss", 1) and joint[0][1] == pytest.approx(aligned.item(), rel=1e-5)
        assert warm[0][1] == pytest.approx(plain.item(), rel=1e-5)


def test_rows_come_as_they_are_without_a_seed_and_shuffled_by_seed_phase_split_and_epoch():
    labels = torch.arange(40)
    front = Fronts(randn(40, 2, 1, 1), randn(40, 3, 1, 1), labels)
    data = {phase: _Features({"train": front, "valid": front}, LossWeights(), phase) for phase in ("warm", "joint")}
    plain = list(data["warm"].batches("train", 15))
    assert [len(batch[2]) for batch in plain] == [15, 15, 10]
    assert all(torch.equal(torch.cat(parts), part) for parts, part in zip(zip(*plain, strict=True), front, strict=True))

    def order(phase="warm", split="train", seed=0, *epoch):
        return torch.cat([rows for _, _, rows in data[phase].batches(split, 15, seed, *epoch)]).tolist()

    first = order("warm", "train", 0, 0)
    assert order() == first and sorted(first) == labels.tolist()
    others = [order("joint"), order(split="valid"), order(seed=1), order("warm", "train", 0, 1)]
    assert not any(other in (first, labels.tolist()) for other in others)


def test_unless_told_it_trains_as_the_paper_does():
    steps = []
    model = network()
    rows = fit_protopnet(model, fronts(model), progress=lambda at, total: steps.append((at, total)))
    assert steps == [(i, 12) for i in range(1, 13)]  # twelve passes of one batch: 24 images are fewer than 80
    again = network()
    told = fit_protopnet(again, fronts(again), epochs=12, warm_epochs=5, decay_epochs=3, batch_size=80, seed=0)
    assert rows == told and torch.equal(model.prototypes, again.prototypes)


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
