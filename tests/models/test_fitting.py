import contextlib
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from winnow.errors import InputError
from winnow.models import build
from winnow.models.fitting import final_metrics, fit, steps_per_epoch

IMAGE = {"in_channels": 1, "height": 9, "width": 8, "classes": 3}
OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "plain": lambda p: torch.optim.SGD(p, lr=0.05),
}


class Interrupted(Exception):
    pass


def model_of(name="mlp"):
    model = build(name, seed=1, **IMAGE)
    if name == "mlp":
        model.relu1 = nn.Sequential(nn.ReLU(), nn.Dropout(0.3))  # a resumed run must meet the same dropout
    return model


def run(model, workload, stop_after=None, **changes):
    def after_step(step):
        if step == stop_after:
            raise Interrupted

    settings = {
        "epochs": 4,
        "optimizer": OPTIMIZERS["adamw"],
        "schedule": lambda share: 1 - share,
        "batch_size": 32,
        "seed": 3,
        "label_smoothing": 0.1,
        "after_step": after_step,
    }
    return fit(model, workload, **(settings | changes))


def bits(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_fit_takes_exactly_the_steps_that_a_plain_loop_takes(blobs):
    model, twin = build("mlp", seed=1, **IMAGE), build("mlp", seed=1, **IMAGE)
    history = run(model, blobs, epochs=2)
    optimizer, losses, rates = torch.optim.AdamW(twin.parameters(), lr=0.01, weight_decay=0.1), [], []
    step = 0
    for epoch in range(2):
        for x, y in blobs.batches("train", 32, seed=3, epoch=epoch):
            rates.append(0.01 * (1 - step / 6))
            optimizer.param_groups[0]["lr"] = rates[-1]
            loss = functional.cross_entropy(twin(x), y, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
    assert same(bits(model), bits(twin))
    assert [(v, s) for m, v, s in history if m == "loss"] == list(zip(losses, range(1, 7), strict=True))
    assert [(v, s) for m, v, s in history if m == "learning_rate"] == list(zip(rates, range(1, 7), strict=True))
    valid = [(v, s) for m, v, s in history if m == "valid_accuracy"]
    assert [s for _, s in valid] == [3, 6]
    assert valid[-1][0] == blobs.metrics(twin.eval(), "valid")["accuracy"]
    assert not model.training


def test_the_metrics_of_the_last_epoch_are_those_of_the_model_that_it_leaves(blobs):
    model = model_of()
    history = run(model, blobs, epochs=3)
    assert final_metrics(history) == blobs.metrics(model, "valid")
    assert final_metrics([("valid_a", 1.0, 2), ("loss", 0.0, 3), ("valid_a", 3.0, 4), ("valid_b", 2.0, 4)]) == {
        "a": 3.0,
        "b": 2.0,
    }


def test_a_model_learns(blobs):
    model = build("small_cnn", **IMAGE)
    history = run(model, blobs, epochs=8)
    assert [v for m, v, _ in history if m == "valid_accuracy"][-1] > 0.9
    assert blobs.metrics(model, "test")["accuracy"] > 0.9


def test_without_a_schedule_the_rate_is_constant_and_epochs_0_change_nothing(blobs):
    history = run(model_of(), blobs, epochs=1, schedule=None)
    assert [v for m, v, _ in history if m == "learning_rate"] == [0.01] * 3
    model = model_of()
    before = bits(model)
    assert run(model.train(), blobs, epochs=0) == [] and not model.training
    assert same(before, bits(model))


def test_training_runs_in_train_mode_and_validation_in_eval_mode_without_gradients(blobs):
    modes = []
    loss, metrics = blobs.loss, blobs.metrics
    blobs.loss = lambda m, *a: modes.append(("loss", m.training, torch.is_grad_enabled())) or loss(m, *a)
    blobs.metrics = lambda m, s: modes.append((s, m.training, torch.is_grad_enabled())) or metrics(m, s)
    run(model_of(), blobs, epochs=2)
    assert modes == 2 * (3 * [("loss", True, True)] + [("valid", False, False)])


def test_a_run_that_is_not_validated_trains_alike_and_measures_nothing(blobs):
    measured = model_of()
    history = run(measured, blobs, epochs=2)
    blobs.metrics = None  # which nobody can call
    model = model_of()
    assert run(model, blobs, epochs=2, validated=False) == [row for row in history if row[0][:6] != "valid_"]
    assert same(bits(model), bits(measured)) and not model.training


def test_every_group_of_an_optimizer_follows_the_schedule_from_its_own_rate(blobs):
    made = []

    def optimizer(parameters):
        first, *rest = list(parameters)
        made.append(torch.optim.SGD([{"params": [first], "lr": 0.5}, {"params": rest, "lr": 0.1}]))
        return made[0]

    history = run(model_of(), blobs, epochs=1, optimizer=optimizer, schedule=lambda share: 0.5)
    assert [group["lr"] for group in made[0].param_groups] == [0.25, 0.05]
    assert {value for metric, value, _ in history if metric == "learning_rate"} == {0.25}  # the first group's


def test_labels_are_not_smoothed_where_nothing_is_asked(blobs):
    plain = {"epochs": 1, "optimizer": OPTIMIZERS["plain"], "batch_size": 32, "seed": 3}
    assert fit(model_of(), blobs, **plain) == fit(model_of(), blobs, label_smoothing=0.0, **plain)


@pytest.mark.parametrize("asked", [None, 0.0, 0.25])
def test_the_loss_is_told_how_much_to_smooth_labels(blobs, asked):
    told, loss = set(), blobs.loss
    blobs.loss = lambda model, batch, label_smoothing: told.add(label_smoothing) or loss(model, batch)
    smoothing = {} if asked is None else {"label_smoothing": asked}
    fit(model_of(), blobs, epochs=1, optimizer=OPTIMIZERS["plain"], batch_size=32, seed=3, **smoothing)
    assert told == {asked or 0.0}


def test_a_schedule_is_asked_for_shares_from_0_to_below_1_alone(tmp_path, blobs):
    asked = []
    run(model_of(), blobs, schedule=lambda share: asked.append(share) or 1.0, checkpoint=tmp_path / "c")
    assert min(asked) == 0 and max(asked) < 1
    assert sorted(asked)[-1] == 11 / 12  # the last of twelve steps


def test_callbacks_come_after_each_step_with_its_number(blobs):
    steps, progress = [], []
    run(model_of(), blobs, epochs=2, after_step=steps.append, progress=lambda *a: progress.append(a))
    assert steps == [1, 2, 3, 4, 5, 6]
    assert progress == [(s, 6) for s in steps]
    assert steps_per_epoch(blobs, 32, 3) == 3


@pytest.mark.parametrize(
    ("name", "kind", "stop_after", "every"),
    [
        ("mlp", "adamw", 3, 1),
        ("mlp", "adamw", 4, 1),
        ("mlp", "momentum", 8, 1),
        ("mlp", "plain", 8, 2),
        ("mlp", "adamw", 12, 1),
        ("mlp", "adamw", 5, 3),
        ("mlp", "adamw", 8, 3),
        ("mlp", "adamw", 11, 3),
        ("depthwise_cnn", "adamw", 8, 1),
        ("depthwise_cnn", "momentum", 8, 2),
    ],
)
def test_an_interrupted_run_that_is_resumed_ends_bit_for_bit_like_a_straight_one(
    tmp_path, blobs, name, kind, stop_after, every
):
    straight, resumed = model_of(name), model_of(name)
    expected = run(straight, blobs, optimizer=OPTIMIZERS[kind])
    settings = {"checkpoint": tmp_path / "c", "checkpoint_every": every, "optimizer": OPTIMIZERS[kind]}
    with pytest.raises(Interrupted):
        run(resumed, blobs, stop_after=stop_after, **settings)
    kept = (stop_after - 1) // 3 // every  # epochs of three steps
    assert (tmp_path / "c").exists() == (kept > 0)
    again, torch_state = model_of(name), torch.random.get_rng_state()
    seen = []
    history = run(again, blobs, after_step=seen.append, **settings)
    assert seen == list(range(kept * every * 3 + 1, 13))  # what the checkpoint holds is not done twice
    assert history == expected
    assert same(bits(straight), bits(again))
    assert torch.equal(torch_state, torch.random.get_rng_state())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop_after", [5, 9])
def test_what_after_step_keeps_and_tells_is_resumed_with_the_rest(tmp_path, blobs, stop_after):
    def counted(stop=None, **settings):
        kept, model = {"count": torch.zeros(2, dtype=torch.int64), "even": torch.tensor([True])}, model_of()

        def after_step(step):
            if step == stop:
                raise Interrupted
            kept["count"] = kept["count"] + step
            kept["even"] = ~kept["even"]
            return [("count", float(kept["count"][0]), step)] if step % 2 else []

        return kept, run(model, blobs, after_step=after_step, kept=kept, **settings)

    kept, history = counted()
    assert [row for row in history if row[0] == "count"] == [("count", s * (s + 1) / 2, s) for s in range(1, 13, 2)]
    with pytest.raises(Interrupted):
        counted(stop_after, checkpoint=tmp_path / "c")
    again, resumed = counted(checkpoint=tmp_path / "c")
    assert resumed == history
    assert same(kept, again) and again["count"].tolist() == [78, 78]


def test_a_run_that_ends_before_its_first_checkpoint_leaves_none_and_needs_none(tmp_path, blobs):
    history = run(model_of(), blobs, epochs=2, checkpoint=tmp_path / "c", checkpoint_every=3)
    assert history == run(model_of(), blobs, epochs=2) and list(tmp_path.iterdir()) == []


class Counting(torch.optim.SGD):
    """Steps that grow with a number which is no tensor."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state["taken"] = state.get("taken", 0) + 1
                parameter.data.add_(parameter.grad, alpha=-group["lr"] * state["taken"])


def test_what_an_optimizer_remembers_as_a_number_is_resumed_too(tmp_path, blobs):
    settings = {"optimizer": lambda p: Counting(p, lr=0.01)}
    straight, resumed = model_of(), model_of()
    expected = run(straight, blobs, **settings)
    with pytest.raises(Interrupted):
        run(model_of(), blobs, stop_after=8, checkpoint=tmp_path / "c", **settings)
    assert run(resumed, blobs, checkpoint=tmp_path / "c", **settings) == expected
    assert same(bits(straight), bits(resumed))


def test_a_checkpoint_that_is_cut_short_in_writing_leaves_the_one_before(tmp_path, blobs, monkeypatch):
    with pytest.raises(Interrupted):
        run(model_of(), blobs, stop_after=5, checkpoint=tmp_path / "c")
    written = []

    def full_disk(tensors, path, metadata):
        written.append(path)
        path.write_bytes(b"half")
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("winnow.models.fitting.save_file", full_disk)
        for name in ("c", "d"):
            with pytest.raises(OSError, match="no space"):
                run(model_of(), blobs, checkpoint=tmp_path / name)
    assert written[0] != written[1]  # two runs in one folder keep apart
    seen = []
    assert run(model_of(), blobs, checkpoint=tmp_path / "c", after_step=seen.append) == run(model_of(), blobs)
    assert seen[0] == 4


def test_dropout_differs_between_epochs_and_seeds(blobs):
    class Probe(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = nn.Parameter(torch.zeros(3)), []

        def forward(self, x):
            if self.training:
                self.seen.append(functional.dropout(torch.ones(50)).tolist())
            return self.weight.expand(len(x), 3)

    drawn = []
    for seed in (3, 4):
        probe = Probe()
        run(probe, blobs, epochs=3, seed=seed)
        drawn += probe.seen
    assert len({tuple(row) for row in drawn}) == len(drawn) == 18


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 5},
        {"batch_size": 31},
        {"seed": 4},
        {"label_smoothing": 0.0},
        {"optimizer": OPTIMIZERS["momentum"]},
        {"schedule": None},
        {"schedule": lambda share: 1 - share**2},
        {"recipe": "another"},
        {"kept": {"a": torch.ones(1)}},
    ],
)
def test_a_checkpoint_of_other_settings_is_ignored(tmp_path, blobs, changes):
    with pytest.raises(Interrupted):
        run(model_of(), blobs, stop_after=5, checkpoint=tmp_path / "c")
    model, fresh, seen = model_of(), model_of(), []
    history = run(model, blobs, checkpoint=tmp_path / "c", progress=lambda step, total: seen.append(step), **changes)
    assert history == run(fresh, blobs, **changes) and seen[0] == 1
    assert same(bits(model), bits(fresh))


@pytest.mark.parametrize("eighth", range(8))
def test_a_checkpoint_of_a_schedule_that_differs_in_any_part_is_ignored(tmp_path, blobs, eighth):
    with pytest.raises(Interrupted):
        run(model_of(), blobs, stop_after=5, checkpoint=tmp_path / "c")
    seen = []

    def other(share):
        return (1 - share) * (0.5 if eighth <= 8 * share < eighth + 1 else 1)

    run(model_of(), blobs, schedule=other, checkpoint=tmp_path / "c", progress=lambda step, _: seen.append(step))
    assert seen[0] == 1


def test_a_checkpoint_that_keeps_tensors_of_another_name_is_ignored(tmp_path, blobs):
    with pytest.raises(Interrupted):
        run(model_of(), blobs, stop_after=5, checkpoint=tmp_path / "c", kept={"a": torch.ones(2)})
    kept, seen = {"b": torch.ones(2)}, []
    run(model_of(), blobs, checkpoint=tmp_path / "c", kept=kept, progress=lambda step, _: seen.append(step))
    assert seen[0] == 1 and kept.keys() == {"b"}


class Rows:
    """A workload whose batch is one tensor, as that of a language model is."""

    def __init__(self):
        self.rows = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))

    def batches(self, split, size, seed=None, epoch=0):
        return iter(self.rows.split(size))

    def loss(self, model, batch, label_smoothing=0.0):
        return (model(batch) - batch).square().mean()

    def metrics(self, model, split):
        return {"error": float(self.loss(model, self.rows))}


def test_batches_of_one_tensor_are_told_apart_too(tmp_path):
    def linear():
        model = nn.Linear(4, 4)
        nn.init.eye_(model.weight)
        return model

    torch.manual_seed(0)
    start = linear().state_dict()
    for shift, first in ((0.0, 3), (1.0, 1)):
        workload, model, seen = Rows(), linear(), []
        for stop in (4, None):
            model.load_state_dict(start)
            workload.rows += shift if stop is None else 0.0
            with contextlib.suppress(Interrupted):
                run(
                    model, workload, stop_after=stop, epochs=3, checkpoint=tmp_path / f"c{shift}",
                    **({"after_step": seen.append} if stop is None else {}),
                )  # fmt: skip
        assert seen[0] == first  # two steps an epoch: the same rows go on, others start again


@pytest.mark.parametrize("what", ["data", "start"])
def test_a_checkpoint_of_other_data_or_another_start_is_ignored(tmp_path, blobs, what):
    with pytest.raises(Interrupted):
        run(model_of(), blobs, stop_after=5, checkpoint=tmp_path / "c")
    model, fresh = model_of(), model_of()
    if what == "data":
        blobs.splits["train"][0][-1, 0, 0, 0] += 1
    else:
        for m in (model, fresh):
            m.output.bias.data[0] += 1
    assert run(model, blobs, checkpoint=tmp_path / "c") == run(fresh, blobs)


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"", lambda b: b"\xff" * len(b)])
def test_a_damaged_checkpoint_is_named_with_a_remedy(tmp_path, blobs, damage):
    path = tmp_path / "c"
    with pytest.raises(Interrupted):
        run(model_of(), blobs, stop_after=5, checkpoint=path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="c: is a damaged checkpoint; delete it"):
        run(model_of(), blobs, checkpoint=path)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_loss_that_is_not_finite_stops_at_once(blobs, step):
    first = list(blobs.batches("train", 32, seed=3))[step - 1][0][0]
    rows = blobs.splits["train"][0]
    rows[(rows == first).flatten(1).all(1)] = math.nan
    seen = []
    with pytest.raises(InputError, match=f"loss is nan at step {step}; lower the learning rate"):
        run(model_of(), blobs, after_step=seen.append)
    assert seen == list(range(1, step))


def test_an_empty_training_split_is_an_error(blobs):
    x, y = blobs.splits["train"]
    blobs.splits["train"] = (x[:0], y[:0])
    blobs.batches = lambda *a, **k: iter(())
    with pytest.raises(InputError, match="train: the split has no batch"):
        run(model_of(), blobs)
