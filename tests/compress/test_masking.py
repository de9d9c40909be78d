import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from winnow.compress import METHODS, compress, masks_for
from winnow.compress._masking import apply_masks, estimate_statistics, finetune, prunable_weights
from winnow.compress.global_magnitude import GradualSchedule, global_masks
from winnow.errors import InputError
from winnow.models import build


def share(masks):
    return 1 - sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())


def outside(model, masks):
    """All values that the masks say are zero."""
    return torch.cat([model.get_parameter(name)[~mask] for name, mask in masks.items()])


def test_prunable_are_matrices_and_kernels_in_the_models_order_and_nothing_else():
    def names(name):
        return list(prunable_weights(build(name, in_channels=1, height=9, width=8, classes=3)))

    assert names("mlp") == ["linear1.weight", "linear2.weight", "output.weight"]
    assert names("depthwise_cnn") == [
        "conv.weight",
        *(f"blocks.{i}.{kind}.weight" for i in range(3) for kind in ("depthwise", "pointwise")),
        "output.weight",
    ]
    assert names("fastgrnn") == [
        *(f"cell.{kind}.weight" for kind in ("input_down", "input_up", "state_down", "state_up")),
        "output.weight",
    ]


def test_embeddings_are_left_alone_also_when_an_output_layer_shares_their_weight():
    model = nn.ModuleDict({"embed": nn.Embedding(7, 4), "mix": nn.Linear(4, 4), "out": nn.Linear(4, 7, bias=False)})
    assert list(prunable_weights(model)) == ["mix.weight", "out.weight"]
    model["out"].weight = model["embed"].weight
    assert list(prunable_weights(model)) == ["mix.weight"]


def test_a_bare_layer_is_a_model_too_and_one_without_weights_is_refused():
    layer = nn.Conv1d(2, 3, 3)
    assert prunable_weights(layer)["weight"] is layer.weight
    with pytest.raises(InputError, match="no weight that can be pruned"):
        prunable_weights(nn.Sequential(nn.BatchNorm2d(3), nn.Embedding(3, 3)))


def test_applied_masks_write_plain_zeros_over_whatever_was_there():
    layer = nn.Linear(4, 1)
    layer.weight.data.copy_(torch.tensor([[-1.0, float("nan"), 2.0, -3.0]]))
    mask = torch.tensor([[False, False, True, True]])
    assert apply_masks(layer, {"weight": mask}) is layer
    assert layer.weight.tolist() == [[0.0, 0.0, 2.0, -3.0]]
    assert math.copysign(1, layer.weight[0, 0].item()) == 1  # -0.0 would change the bytes of the file


@pytest.mark.parametrize("name", ["wieght", "weight"])
def test_a_mask_that_fits_no_weight_is_refused(name):
    with pytest.raises(InputError, match=name):
        apply_masks(nn.Linear(4, 1), {name: torch.ones(1, 3, dtype=torch.bool)})


@pytest.mark.parametrize("gradual", [None, GradualSchedule(0.9, 3)])
def test_masked_weights_are_0_after_every_step_and_the_kept_ones_learn(model, blobs, gradual):
    seen = []

    def look(step, total):
        zeros = torch.cat([(w == 0).flatten() for w in prunable_weights(model).values()])
        # The gradual form has pruned its third and last time after step 4 of 9.
        assert step < 4 or zeros.double().mean() > 0.9 - 1e-3
        masks = global_masks(prunable_weights(model), 1.0 if gradual else 0.1) if not seen else seen[-1]
        seen.append({n: masks[n] & (w != 0) for n, w in prunable_weights(model).items()})

    start = masks_for("global_magnitude", model, blobs, 0.0 if gradual else 0.9, 0)
    before = {n: w.detach().clone() for n, w in prunable_weights(model).items()}
    masks, _ = finetune(
        model,
        start,
        blobs,
        epochs=3,
        lr=0.1,
        seed=0,
        batch_size=32,
        gradual=gradual,
        tighten=lambda m, s: masks_for("global_magnitude", model, blobs, s, 0, within=m),
        progress=look,
    )
    assert len(seen) == 9
    assert torch.count_nonzero(outside(model, masks)) == 0
    for earlier, later in zip(seen, seen[1:], strict=False):
        assert all((~later[n] | earlier[n]).all() for n in later)  # what is zero stays zero
    changed = [(model.get_parameter(n) != before[n])[mask] for n, mask in masks.items()]
    assert torch.cat(changed).double().mean() > 0.9
    assert share(masks) == pytest.approx(0.9, abs=1 / sum(m.numel() for m in masks.values()))


def test_finetuning_is_sgd_with_the_authors_settings_on_a_masked_model(model, blobs):
    twin = build(model.registry_name, seed=1, **model.arguments)
    masks = masks_for("global_magnitude", model, blobs, 0.7, 0)
    finetune(model, masks, blobs, epochs=2, lr=0.2, seed=5, batch_size=40)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.2, momentum=0.875, weight_decay=7e-6)
    step = 0
    twin.train()
    for name, mask in masks.items():
        twin.get_parameter(name).data *= mask
    for epoch in range(2):
        for x, y in blobs.batches("train", 40, seed=5, epoch=epoch):
            optimizer.param_groups[0]["lr"] = 0.2 * 0.5 * (1 + math.cos(math.pi * step / 6))
            optimizer.zero_grad()
            functional.cross_entropy(twin(x), y, label_smoothing=0.1).backward()
            optimizer.step()
            for name, mask in masks.items():
                twin.get_parameter(name).data *= mask
            step += 1
    state = twin.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_gradual_pruning_rises_in_equal_steps_and_ends_half_way(blobs):
    model = build("mlp", seed=1, in_channels=1, height=9, width=8, classes=3)
    _, _, history = compress(
        "global_magnitude",
        model,
        blobs,
        sparsity=0.8,
        seed=0,
        epochs=8,
        lr=0.05,
        gradual_steps=4,
        batch_size=32,
    )
    rows = [(step, value) for metric, value, step in history if metric == "sparsity"]
    assert [step for step, _ in rows] == [0, 3, 6, 9, 12]  # of 24 steps
    assert [value for _, value in rows] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8], abs=1e-4)


@pytest.mark.parametrize(
    ("epochs", "steps", "batch_size", "last"),
    [(1, 8, 32, 1), (1, 1, 32, 1), (1, 1, 90, 1), (2, 3, 45, 2), (0, 4, 32, 0)],  # of 3, 3, 1, 4 and 0 training steps
)
def test_gradual_pruning_reaches_its_target_however_short_training_is(model, blobs, epochs, steps, batch_size, last):
    pruned, masks, history = compress(
        "global_magnitude",
        model,
        blobs,
        sparsity=0.8,
        seed=0,
        epochs=epochs,
        lr=0.05,
        gradual_steps=steps,
        batch_size=batch_size,
    )
    assert sum(int(m.sum()) for m in masks.values()) == round(0.2 * sum(m.numel() for m in masks.values()))
    assert torch.count_nonzero(outside(pruned, masks)) == 0
    assert [row[1:] for row in history if row[0] == "sparsity"][-1] == (pytest.approx(0.8, abs=1e-3), last)


def test_without_a_way_to_tighten_masks_a_schedule_changes_none(blobs):
    model = build("mlp", seed=1, in_channels=1, height=9, width=8, classes=3)
    start = masks_for("global_magnitude", model, blobs, 0.5, 0)
    schedule = GradualSchedule(0.9, 2)
    masks, history = finetune(model, start, blobs, epochs=1, lr=0.1, seed=0, batch_size=32, gradual=schedule)
    assert all(torch.equal(masks[name], start[name]) for name in start)
    assert [row for row in history if row[0] == "sparsity"] == [("sparsity", pytest.approx(0.5, abs=1e-4), 0)]


def test_batches_are_of_128_rows_where_nothing_else_is_asked(blobs):
    model = build("mlp", seed=1, in_channels=1, height=9, width=8, classes=3)
    blobs.splits["train"] = tuple(part.repeat(3, *[1] * (part.ndim - 1)) for part in blobs.splits["train"])
    seen, loss = [], blobs.loss
    blobs.loss = lambda m, batch, smoothing: seen.append(len(batch[1])) or loss(m, batch, smoothing)
    finetune(model, masks_for("uniform", model, blobs, 0.5, 0), blobs, epochs=1, lr=0.1, seed=0)
    assert seen == [128, 128, 14]  # of 270


def test_gradual_pruning_looks_at_the_current_weights(blobs):
    model = build("mlp", seed=1, in_channels=1, height=9, width=8, classes=3)
    settings = {"sparsity": 0.9, "seed": 0, "epochs": 6, "lr": 0.2, "batch_size": 32}
    _, once, _ = compress("global_magnitude", model, blobs, **settings)
    _, gradual, _ = compress("global_magnitude", model, blobs, gradual_steps=4, **settings)
    assert any(not torch.equal(once[name], gradual[name]) for name in once)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("gradual_steps", [0, 3])
def test_compress_leaves_the_dense_model_alone_and_repeats_itself(method, gradual_steps, blobs):
    model = build("depthwise_cnn", seed=1, in_channels=1, height=9, width=8, classes=3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = {
        "sparsity": 0.8,
        "seed": 3,
        "epochs": 1,
        "lr": 0.05,
        "gradual_steps": gradual_steps,
        "batch_size": 16,
    }
    first, masks, history = compress(method, model, blobs, **settings)
    again, same_masks, same_history = compress(method, model, blobs, **settings)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert history == same_history and all(torch.equal(masks[n], same_masks[n]) for n in masks)
    expected = first.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())
    assert not first.training and first.registry_name == "depthwise_cnn"
    assert torch.count_nonzero(outside(first, masks)) == 0


def test_compress_respects_the_minimum_also_while_sparsity_rises(blobs):
    model = build("depthwise_cnn", seed=1, in_channels=1, height=9, width=8, classes=3)
    for steps in (0, 4):
        _, masks, _ = compress(
            "global_magnitude", model, blobs, sparsity=0.97, seed=0, epochs=2, lr=0.1, gradual_steps=steps,
            min_keep_share=0.002, batch_size=32,
        )  # fmt: skip
        total = sum(m.numel() for m in masks.values())
        assert min(int(m.sum()) for m in masks.values()) >= round(0.002 * total) > 1
        assert sum(int(m.sum()) for m in masks.values()) == round(0.03 * total)


def test_a_pruned_model_recovers_by_finetuning(blobs):
    model = build("mlp", seed=1, in_channels=1, height=9, width=8, classes=3)
    settings = {"sparsity": 0.9, "seed": 0, "lr": 0.05, "batch_size": 16}
    raw, _, _ = compress("lamp", model, blobs, epochs=0, **settings)
    tuned, _, history = compress("lamp", model, blobs, epochs=10, **settings)
    assert blobs.metrics(raw, "test")["accuracy"] < 0.9 < blobs.metrics(tuned, "test")["accuracy"]
    assert len([1 for metric, _, _ in history if metric == "loss"]) == 60


def test_estimated_statistics_are_the_mean_and_variance_of_the_batches(blobs):
    norm = nn.BatchNorm2d(1, momentum=0.3)
    model = nn.Sequential(norm, nn.Flatten(), nn.Linear(72, 3)).train()
    norm.running_mean.fill_(50.0)
    norm.num_batches_tracked.fill_(5)
    estimate_statistics(model, blobs, 30, seed=2)
    batches = [x for x, _ in blobs.batches("train", 30, seed=2)]
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean() for x in batches]).mean().view(1))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var() for x in batches]).mean().view(1))
    assert norm.momentum == 0.3 and not model.training
    assert norm.weight.grad is None


def test_without_epochs_the_statistics_belong_to_the_pruned_weights(blobs):
    model = build("depthwise_cnn", seed=1, in_channels=1, height=9, width=8, classes=3)
    pruned, masks, _ = compress("global_magnitude", model, blobs, sparsity=0.5, seed=0, epochs=0, lr=0.1, batch_size=30)
    twin = build("depthwise_cnn", seed=1, in_channels=1, height=9, width=8, classes=3)
    estimate_statistics(apply_masks(twin, masks), blobs, 30, seed=0)
    expected = twin.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in pruned.state_dict().items())
    assert not torch.equal(pruned.norm.running_mean, model.norm.running_mean)


def test_a_model_without_batch_norm_is_only_put_in_eval_mode(blobs):
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).train()
    assert not estimate_statistics(model, blobs, 30, 0).training


def test_a_norm_that_never_trains_keeps_the_statistics_it_came_with(blobs):
    class Frozen(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[0].eval()
            return self

    norm = nn.BatchNorm2d(1)
    norm.running_mean.fill_(3.0)
    model = Frozen(norm, nn.Flatten(), nn.BatchNorm1d(72), nn.Linear(72, 3))
    estimate_statistics(model, blobs, 30, 0)
    assert norm.running_mean.item() == 3 and norm.momentum == 0.1
    assert not torch.equal(model[2].running_mean, torch.zeros(72))


class Interrupted(Exception):
    pass


def stopping_after(last):
    def progress(step, total):
        if step == last:
            raise Interrupted

    return progress


RESUMED = {"sparsity": 0.8, "seed": 3, "epochs": 4, "lr": 0.05, "batch_size": 32}  # four epochs of three steps


@pytest.mark.parametrize("name", ["mlp", "depthwise_cnn"])
@pytest.mark.parametrize(
    ("method", "gradual_steps"), [("global_magnitude", 0), ("global_magnitude", 4), ("snip", 0), ("random", 3)]
)
@pytest.mark.parametrize("stop_after", [3, 5, 8])  # before the first checkpoint, while sparsity rises, after
def test_an_interrupted_fine_tuning_goes_on_to_the_same_bits(blobs, tmp_path, name, method, gradual_steps, stop_after):
    model = build(name, seed=1, in_channels=1, height=9, width=8, classes=3)
    settings = RESUMED | {"gradual_steps": gradual_steps}
    straight, masks, history = compress(method, model, blobs, **settings)
    settings["checkpoint"] = tmp_path / "c"
    with pytest.raises(Interrupted):
        compress(method, model, blobs, progress=stopping_after(stop_after), **settings)
    steps = []
    resumed, same_masks, same_history = compress(
        method, model, blobs, progress=lambda step, total: steps.append(step), **settings
    )
    assert steps == list(range((stop_after - 1) // 3 * 3 + 1, 13))
    assert same_history == history
    assert all(torch.equal(masks[name], same_masks[name]) for name in masks)
    expected = straight.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.state_dict().items())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [{"method": "random"}, {"gradual_steps": 3}, {"gradual_steps": 0}, {"sparsity": 0.7}, {"min_keep_share": 0.01}],
)
def test_a_checkpoint_of_another_pruning_is_ignored(blobs, tmp_path, changes):
    model = build("mlp", seed=1, in_channels=1, height=9, width=8, classes=3)
    settings = {"method": "global_magnitude", "model": model, "workload": blobs, "gradual_steps": 4} | RESUMED
    with pytest.raises(Interrupted):
        compress(progress=stopping_after(8), checkpoint=tmp_path / "c", **settings)
    assert (tmp_path / "c").exists()
    expected = compress(**settings | changes)
    found = compress(checkpoint=tmp_path / "c", **settings | changes)
    assert found[2] == expected[2] and all(torch.equal(found[1][name], mask) for name, mask in expected[1].items())
