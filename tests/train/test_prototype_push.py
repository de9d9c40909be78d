"""After training: prototypes are patches, the last layer is at its minimum, and what is near to others goes."""

import inspect

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.optimize import minimize

from tests.train.prototype_networks import CLASS_OF, coloured, fronts, network, randn
from winnow.errors import InputError
from winnow.train.protopnet import compute_fronts, outputs_of
from winnow.train.prototype_push import (
    evidence_table,
    last_layer,
    nearest_patches,
    prototype_table,
    prune,
    push,
    score_table,
)


class Drawn:
    """As much of a workload as tables of prototypes ask for."""

    shape = (3, 32, 32)

    @staticmethod
    def annotations(split):
        return pa.table({"image_id": np.arange(100, 124)[::-1]})


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


@pytest.mark.parametrize("iterations", [1, 4])
def test_each_iteration_is_a_proximal_step_from_where_nesterovs_momentum_points(iterations):
    """Beck and Teboulle's t are 1, 1.618, 2.194 and 2.750: what is kept of the last move is (t - 1) over the next t."""
    l1, shares = 0.02, (0.0, 0.0, 0.281753, 0.434043)
    model, scores, labels = network(head="linear"), randn(40, 6, seed=2).double(), torch.arange(40) % 3
    other = (CLASS_OF[None] != torch.arange(3)[:, None]).double()
    lipschitz = float(np.linalg.eigvalsh(scores.T.numpy() @ scores.numpy())[-1]) / 80
    before = weights = model.head.detach().double()
    for share in shares[:iterations]:
        ahead = (weights + share * (weights - before)).requires_grad_()
        (slope,) = torch.autograd.grad(torch.nn.functional.cross_entropy(scores @ ahead.T, labels), ahead)
        moved = ahead.detach() - slope / lipschitz
        before, weights = weights, moved.sign() * (moved.abs() - l1 * other / lipschitz).relu()
    history = last_layer(model, scores.float(), labels, l1=l1, iterations=iterations)
    torch.testing.assert_close(model.head.detach().double(), weights, atol=1e-6, rtol=1e-5)
    assert len(history) == iterations + 1 and history[1] < history[0]


def test_unless_told_the_last_layer_takes_twenty_steps_at_the_authors_weight():
    scores, labels = randn(40, 6, seed=2), torch.arange(40) % 3
    usual, told = network(head="linear"), network(head="linear")
    assert last_layer(usual, scores, labels) == last_layer(told, scores, labels, l1=1e-4, iterations=20)
    assert torch.equal(usual.head, told.head)


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


@pytest.mark.parametrize("head", ["linear", "aggregate"])
def test_the_evidence_shown_sums_to_the_logit_and_its_boxes_are_those_of_the_image(head):
    model = network(head=head).eval()
    front = fronts(model)["valid"]
    x, _ = coloured(seed=1)
    rows = evidence_table(model, front, Drawn, "valid", row=7).to_pylist()
    logits = model(x[7:8])[0].detach()
    assert sorted(row["prototype"] for row in rows) == list(range(6))
    assert {(row["split"], row["row"], row["predicted"]) for row in rows} == {("valid", 7, int(logits.argmax()))}
    assert sum(row["contribution"] for row in rows) == pytest.approx(float(logits.max()), abs=1e-5)
    assert rows[0]["logit"] == pytest.approx(float(logits.max()), abs=1e-5)
    values = [row["contribution"] for row in rows]
    assert values == sorted(values, reverse=True)
    maps = torch.nn.functional.interpolate(model.maps(x[7:8]).detach(), size=(32, 32), mode="bicubic")[0]
    for row in rows:
        assert row["contribution"] == pytest.approx(row["similarity"] * row["weight"])
        assert row["class"] == int(CLASS_OF[row["prototype"]])
        own = maps[row["prototype"]].numpy()
        high, wide = np.nonzero(own >= np.quantile(own, 0.95))
        assert row["box"] == [wide.min(), high.min(), wide.max() + 1, high.max() + 1]


def test_the_evidence_is_of_the_first_image_and_its_boxes_of_a_twentieth_unless_told():
    model = network().eval()
    front = fronts(model)["valid"]
    usual = evidence_table(model, front, Drawn, "valid")
    assert usual == evidence_table(model, front, Drawn, "valid", row=0, quantile=0.95)
    assert usual != evidence_table(model, front, Drawn, "valid", row=0, quantile=0.5)


@pytest.mark.parametrize("head", ["linear", "aggregate"])
def test_prototypes_are_told_with_where_they_were_found_and_what_they_count(head):
    model = network(head=head).eval()
    front = fronts(model)["train"]
    projection = push(model, front)
    model.active[2] = 0
    table = prototype_table(model, front, Drawn)
    kinds = {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)}
    assert kinds == {
        "prototype": "int32", "class": "int32", "image_id": "int64", "row": "int64", "y": "int32", "x": "int32",
        "box": "fixed_size_list<item: int32>[4]", "distance": "float", "weight": "float", "active": "bool",
    }  # fmt: skip
    ids = Drawn.annotations("train")["image_id"].to_pylist()
    x, _ = coloured(seed=0)
    for j, row in enumerate(table.to_pylist()):
        image, y, column = (int(part[j]) for part in projection[:3])
        assert (row["prototype"], row["class"], row["active"]) == (j, int(CLASS_OF[j]), j != 2)
        assert (row["row"], row["image_id"], row["y"], row["x"]) == (image, ids[image], y, column)
        assert row["distance"] == pytest.approx(-1, abs=1e-5)  # each lies on its patch
        assert row["weight"] == float(model.evidence_weights()[CLASS_OF[j], j].detach())
        own = model.maps(x[image : image + 1]).detach()[:, j : j + 1]
        large = torch.nn.functional.interpolate(own, size=(32, 32), mode="bicubic")[0, 0].numpy()
        high, wide = np.nonzero(large >= np.quantile(large, 0.95))
        assert row["box"] == [wide.min(), high.min(), wide.max() + 1, high.max() + 1]
    assert table != prototype_table(model, front, Drawn, quantile=0.5)


def test_of_equally_near_patches_the_first_is_taken_and_prototypes_are_judged_by_six_images():
    model = network("l2log").eval()
    x, labels = coloured(6)
    twice = compute_fronts(model, torch.cat([x, x]), torch.cat([labels, labels]))
    assert (nearest_patches(model, twice)[0].image < 6).all()
    usual = inspect.signature(prune).parameters
    assert (usual["k"].default, usual["keep"].default) == (6, 3)  # Chen et al.


def test_the_scores_of_images_and_the_weights_of_prototypes_give_the_logits():
    model = network(head="linear").eval()
    front = fronts(model)["valid"]
    x, labels = coloured(seed=1)
    logits = model(x).detach()
    rows = score_table(model, front, Drawn, "valid").to_pylist()
    assert len(rows) == 24 * 6
    for i, image_id in enumerate(Drawn.annotations("valid")["image_id"].to_pylist()):
        mine = [row for row in rows if row["image_id"] == image_id]
        assert [(row["prototype"], row["class"]) for row in mine] == list(enumerate(CLASS_OF.tolist()))
        assert {(row["label"], row["predicted"]) for row in mine} == {(int(labels[i]), int(logits[i].argmax()))}
        scores = torch.tensor([row["score"] for row in mine])
        torch.testing.assert_close(model.head.detach() @ scores, logits[i], atol=1e-5, rtol=1e-5)
