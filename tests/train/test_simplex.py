"""The simplex against its Gram matrix, the compatibility loss against a double loop, training by what must not move."""

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F

from winnow.errors import InputError
from winnow.train.simplex import Recipe, fit_sequence, hoc_loss, new_model
from winnow.train.simplex_networks import ExpandingNet, SimplexNet

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.05, final_learning_rate=0.01, memory=2)


def by_hand(new, old, labels, scale, zero):
    """The loss, one pair at a time."""
    total = 0.0
    for i in range(len(new)):
        away = []
        for j in range(len(new)):
            if labels[j] != labels[i]:
                away.append(math.exp(scale * float(new[i] @ old[j])))
            elif zero:
                away.append(1.0)
        total += (math.log(sum(away)) if away else 0.0) - scale * float(new[i] @ old[i])
    return total / len(new)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4), st.sampled_from([1.0, 10.0]))
def test_the_compatibility_loss_is_the_double_loop(seed, rows, classes, scale):
    generator = torch.Generator().manual_seed(seed)
    new, old = (F.normalize(torch.randn(rows, 5, generator=generator, dtype=torch.float64), dim=1) for _ in range(2))
    labels = torch.randint(classes, (rows,), generator=generator)
    for mask in ("exclude", "zero"):
        expected = by_hand(new, old, labels.tolist(), scale, mask == "zero")
        assert float(hoc_loss(new, old, labels, scale, mask)) == pytest.approx(expected, abs=1e-10)


def test_a_batch_of_one_class_only_pulls_and_its_gradient_is_finite():
    generator = torch.Generator().manual_seed(1)
    new, old = (F.normalize(torch.randn(4, 3, generator=generator, dtype=torch.float64), dim=1) for _ in range(2))
    new.requires_grad_()
    loss = hoc_loss(new, old, torch.zeros(4, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-10 * float((new * old).sum(1).mean().detach()))
    torch.testing.assert_close(new.grad, -10 * old / 4)


def test_gradients_stay_finite_where_one_row_alone_has_no_other_class():
    new = F.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(2)), dim=1).requires_grad_()
    hoc_loss(new, new.detach().flip(0), torch.tensor([0, 0, 0, 0, 1])).backward()
    assert torch.isfinite(new.grad).all()


def test_features_and_labels_that_do_not_match_are_refused():
    with pytest.raises(InputError, match="do not match"):
        hoc_loss(torch.eye(3), torch.eye(3)[:2], torch.arange(3))
    with pytest.raises(InputError, match="do not match"):
        hoc_loss(torch.eye(3), torch.eye(3), torch.arange(2))


def backbone(width=12, activation=nn.Tanh):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(8, width), activation())


def tasks(*groups, each=24, seed=0):
    """Clusters around random centres, one a class."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(8, 1, 2, 4, generator=generator)
    made = []
    for labels in groups:
        y = torch.tensor(labels).repeat_interleave(each)
        made.append((centres[y] + 0.3 * torch.randn(len(y), 1, 2, 4, generator=generator), y))
    return made


def start(method="simplex_hoc", classes=8):
    return new_model(method, backbone(), 12, classes, seed=3)


def test_the_vertices_are_the_same_bytes_after_training_and_after_a_file():
    model = start()
    before = model.vertices.clone()
    fitted = fit_sequence(tasks([0, 1], [2]), model, "simplex_hoc", RECIPE, seed=0).models[-1]
    assert torch.equal(fitted.vertices, before)
    assert "vertices" not in dict(fitted.named_parameters())
    state = load(save({name: tensor.contiguous() for name, tensor in fitted.state_dict().items()}))
    again = start()
    again.load_state_dict(state)
    assert torch.equal(again.vertices, before)
    x = tasks([0])[0][0]
    assert torch.equal(again(x)[0], fitted(x)[0])


@pytest.mark.parametrize("method", ["simplex_hoc", "simplex_ce", "er", "bct", "distill"])
def test_every_method_learns_old_and_new_classes_and_repeats_itself(method):
    made = tasks([0, 1], [2], [3])
    recipe = replace(RECIPE, epochs=20, memory=8, weight=0.5)
    fitted = fit_sequence(made, start(method), method, recipe, seed=0)
    again = fit_sequence(made, start(method), method, recipe, seed=0)
    assert len(fitted.models) == 3
    x, y = (torch.cat(parts) for parts in zip(*made, strict=True))
    assert (fitted.models[-1](x)[1].argmax(1) == y).float().mean() > 0.8
    for a, b in zip(fitted.models[-1].parameters(), again.models[-1].parameters(), strict=True):
        assert torch.equal(a, b)
    steps = [step for metric, _, step in fitted.history if metric == "loss"]
    assert steps == list(range(1, len(steps) + 1))


def test_the_models_of_earlier_tasks_stay_as_they_were_and_so_does_the_start():
    made, model = tasks([0, 1], [2]), start()
    before = deepcopy(model.state_dict())
    one = fit_sequence(made[:1], model, "simplex_hoc", RECIPE, seed=0).models[0]
    both = fit_sequence(made, model, "simplex_hoc", RECIPE, seed=0).models
    assert all(torch.equal(one.state_dict()[name], tensor) for name, tensor in both[0].state_dict().items())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not both[0].training


def test_a_trained_classifier_has_a_row_for_each_class_seen_and_keeps_the_old_ones():
    net = ExpandingNet(backbone(), 12, 4)
    net.expand(3, seed=0)
    first = net.classifier.detach().clone()
    net.expand(5, seed=0)
    assert net.classifier.shape == (5, 4)
    assert torch.equal(net.classifier[:3].detach(), first)
    assert net.classifier.abs().max() <= 0.5  # 1 / sqrt(4)
    assert net.classifier[3:].std() > 0.1
    net.expand(2, seed=0)
    assert net.classifier.shape == (5, 4)
    models = fit_sequence(tasks([0, 1], [2]), start("er"), "er", RECIPE, seed=0).models
    assert [len(model.classifier) for model in models] == [2, 3]


def losses_by_hand(method):
    """One batch of the second task where the model has not moved, so that new and old features are equal."""
    from winnow.train.simplex import _Rehearsal

    made = tasks([0, 1], [2])
    x, y = (torch.cat(parts) for parts in zip(*made, strict=True))
    old, new = start(method), start(method)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.add_(0.1)
    if method in ("er", "bct", "distill"):
        old.expand(2, seed=0)
        new.expand(3, seed=0)
    task = _Rehearsal(x, y, old, method, RECIPE)
    return float(task.loss(new, (x, y)).detach()), new(x), old(x), y, old


@pytest.mark.parametrize("method", ["simplex_ce", "er"])
def test_without_a_look_back_the_loss_is_the_cross_entropy(method):
    loss, (_, logits), _, y, _ = losses_by_hand(method)
    assert loss == pytest.approx(float(F.cross_entropy(logits, y)), rel=1e-6)


def test_the_losses_that_look_back_are_weighed_as_published():
    loss, (z, logits), (old, _), y, _ = losses_by_hand("simplex_hoc")
    u, v = F.normalize(z, dim=1), F.normalize(old, dim=1)
    expected = 0.1 * F.cross_entropy(logits, y) + 0.9 * by_hand(u, v, y.tolist(), 10.0, zero=False)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    loss, (z, logits), (old, _), y, _ = losses_by_hand("distill")
    u, v = F.normalize(z, dim=1), F.normalize(old, dim=1)
    expected = 0.1 * F.cross_entropy(logits, y) + 0.9 * ((u - v) ** 2).sum(1).mean()
    assert loss == pytest.approx(float(expected), rel=1e-5)
    loss, (z, logits), _, y, before = losses_by_hand("bct")
    known = y < 2
    expected = F.cross_entropy(logits, y) + F.cross_entropy(z[known] @ before.classifier.T, y[known])
    assert loss == pytest.approx(float(expected), rel=1e-5)


def test_new_features_go_through_no_old_classifier_where_no_old_class_is_in_the_batch():
    from winnow.train.simplex import _Rehearsal

    x, y = tasks([2, 3])[0]
    old, new = start("bct"), start("bct")
    old.expand(2, seed=0)
    new.expand(4, seed=0)
    loss = _Rehearsal(x, y, old, "bct", RECIPE).loss(new, (x, y))
    assert float(loss.detach()) == pytest.approx(float(F.cross_entropy(new(x)[1], y)), rel=1e-6)


def test_batches_draw_every_class_as_often_and_every_epoch_anew():
    from winnow.train.simplex import _Rehearsal

    y = torch.tensor([0] * 2000 + [1] * 20)
    x = torch.arange(2020.0)[:, None]
    task = _Rehearsal(x, y, None, "er", RECIPE)
    drawn = [torch.cat([labels for _, labels in task.batches("train", 128, 5, epoch)]) for epoch in (0, 1)]
    assert len(drawn[0]) == 2020
    # Binomial(2020, 1/2): five standard deviations are 112.
    assert abs(int(drawn[0].sum()) - 1010) < 112
    assert not torch.equal(drawn[0], drawn[1])
    sizes = [len(labels) for _, labels in task.batches("train", 128, 5, 0)]
    assert sizes == [128] * 15 + [100]


def test_the_memory_keeps_so_many_of_each_class():
    from winnow.train.simplex import _remember

    x, y = tasks([0, 1])[0]
    kept = _remember(x, y, 5, seed=0)
    assert [labels.tolist() for _, labels in kept] == [[0] * 5, [1] * 5]
    for images, labels in kept:
        rows = [int((x == image).flatten(1).all(1).nonzero()) for image in images]
        assert len(set(rows)) == 5
        assert (y[rows] == labels).all()
    other = _remember(x, y, 5, seed=1)
    assert not torch.equal(kept[0][0], other[0][0])


def test_a_replacement_takes_over_before_its_task():
    made = tasks([0, 1], [2])
    other = fit_sequence(tasks([0, 1, 2, 3]), start(), "simplex_ce", replace(RECIPE, epochs=10), seed=9).models[0]
    still = replace(RECIPE, epochs=1, learning_rate=1e-12, final_learning_rate=1e-12)
    models = fit_sequence(made, start(), "simplex_hoc", still, seed=0, replacements={1: other}).models
    x = made[1][0]
    torch.testing.assert_close(models[1](x)[0], other(x)[0], rtol=0, atol=1e-6)
    assert not torch.allclose(models[0](x)[0], other(x)[0], atol=1e-2)


def test_the_learning_rate_falls_as_half_a_cosine_to_its_floor():
    fitted = fit_sequence(tasks([0, 1]), start(), "simplex_ce", replace(RECIPE, epochs=4), seed=0)
    rates = [value for metric, value, _ in fitted.history if metric == "learning_rate"]
    expected = [0.01 + 0.04 * (1 + math.cos(math.pi * i / len(rates))) / 2 for i in range(len(rates))]
    assert rates == pytest.approx(expected)


def test_weights_are_decayed_and_biases_are_not():
    x = torch.zeros(16, 1, 2, 4)
    model = new_model("simplex_ce", backbone(activation=nn.ReLU), 12, 8, seed=3)
    with torch.no_grad():
        model.backbone[1].bias.fill_(-1.0)  # all units are dead: decay alone moves anything
    recipe = replace(RECIPE, epochs=1, weight_decay=0.5)
    fitted = fit_sequence([(x, torch.zeros(16, dtype=torch.long))], model, "simplex_ce", recipe, seed=0).models[0]
    torch.testing.assert_close(fitted.backbone[1].weight, model.backbone[1].weight * (1 - 0.05 * 0.5))
    assert torch.equal(fitted.backbone[1].bias, model.backbone[1].bias)


def dead_model():
    """All units are dead, and all images zero: weight decay alone moves the layer before."""
    model = new_model("simplex_ce", backbone(activation=nn.ReLU), 12, 8, seed=3)
    with torch.no_grad():
        model.backbone[1].bias.fill_(-1.0)
    return model, [(torch.zeros(16, 1, 2, 4), torch.zeros(16, dtype=torch.long))]


def test_steps_keep_nine_tenths_of_their_momentum():
    model, made = dead_model()
    recipe = replace(RECIPE, epochs=1, batch_size=8, learning_rate=0.1, final_learning_rate=0.1, weight_decay=0.5)
    fitted = fit_sequence(made, model, "simplex_ce", recipe, seed=0).models[0]
    once = 1 - 0.1 * 0.5
    twice = once - 0.1 * (0.9 * 0.5 + 0.5 * once)
    torch.testing.assert_close(fitted.backbone[1].weight, model.backbone[1].weight * twice)


def test_adamw_decays_apart_from_its_steps_and_moves_each_weight_by_its_rate():
    model, made = dead_model()
    recipe = replace(
        RECIPE, optimizer="adamw", epochs=1, learning_rate=0.05, final_learning_rate=0.01, weight_decay=0.5
    )
    fitted = fit_sequence(made, model, "simplex_ce", recipe, seed=0).models[0]
    torch.testing.assert_close(fitted.backbone[1].weight, model.backbone[1].weight * (1 - 0.05 * 0.5))
    model, made = start("er"), tasks([0, 1])
    recipe = replace(recipe, batch_size=48, weight_decay=0.0)
    fitted = fit_sequence(made, model, "er", recipe, seed=0).models[0]
    moved = (fitted.backbone[1].weight - model.backbone[1].weight).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.05), rtol=1e-2, atol=0)


def test_the_authors_numbers_are_the_usual_ones_and_classes_are_counted_from_the_largest_label():
    usual = Recipe()
    assert (usual.optimizer, usual.epochs, usual.batch_size, usual.memory, usual.mask) == (
        "sgd",
        70,
        128,
        20,
        "exclude",
    )
    assert (usual.learning_rate, usual.final_learning_rate, usual.weight_decay) == (1e-3, 1e-5, 5e-4)
    assert (usual.weight, usual.scale) == (0.1, 10.0)
    short = replace(RECIPE, epochs=1)
    fitted = fit_sequence(tasks([0, 1], [2], [7]), start(), "simplex_hoc", short, seed=0)
    assert fitted.classes == [2, 3, 8]  # label 7 has the last of 8 vertices


def test_without_a_seed_or_an_epoch_batches_are_those_of_the_first():
    from winnow.train.simplex import _Rehearsal

    x, y = tasks([0, 1])[0]
    task = _Rehearsal(x, y, None, "er", RECIPE)
    first = torch.cat([images for images, _ in task.batches("train", 16, 0, 0)])
    assert torch.equal(torch.cat([images for images, _ in task.batches("train", 16)]), first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": []}, "there is no task"),
        ({"tasks": tasks([0, 1], each=20) + [(torch.zeros(2, 1, 2, 4), torch.tensor([2, 8]))]}, "label 8 .* has 8"),
        ({"start": ExpandingNet(backbone(), 12, 7)}, "start: is a ExpandingNet; simplex_hoc needs a SimplexNet"),
        (
            {"replacements": {1: SimplexNet(backbone(), 12, 9)}},
            "replacement at task 1: its simplex has 9 vertices, not 8",
        ),
        ({"replacements": {1: ExpandingNet(backbone(), 12, 7)}}, "replacement at task 1: is a ExpandingNet"),
    ],
)
def test_bad_input_is_refused_in_one_line(change, message):
    arguments = {"tasks": tasks([0, 1]), "start": start(), "method": "simplex_hoc", "recipe": RECIPE, "seed": 0}
    with pytest.raises(InputError, match=message):
        fit_sequence(**(arguments | change))
