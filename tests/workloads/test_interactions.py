"""The kind asks each user for its last item of a split, and trains on what came before."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.workloads.interaction_log import events, walks, workload
from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet, write_parquet
from winnow.workloads import load_workload
from winnow.workloads.interactions import Interactions, padded

LONG = [("a", name, float(i)) for i, name in enumerate("pqrstuvwxy")]
SHORT = [("b", name, float(i)) for i, name in enumerate("ypq")]
SINGLE = [("c", "p", 1.0)]


@pytest.fixture
def log(tmp_path):
    return workload(tmp_path, events(LONG + SHORT + SINGLE))


def words(log, rows):
    return ["".join(log.meta.vocabulary[item] for item in row) for row in rows.tolist()]


def test_a_split_asks_for_its_last_event_given_all_before(log):
    valid, test = log.asked("valid"), log.asked("test")
    assert valid.users.tolist() == test.users.tolist() == [0, 1]
    assert words(log, valid.histories) == ["stuvw", "y"]
    assert words(log, valid.targets[:, None]) == ["x", "p"] and words(log, test.targets[:, None]) == ["y", "q"]
    assert words(log, test.histories) == ["tuvwx", "yp"]
    assert words(log, test.seen) == ["pqrstuvwx", "yp"]
    assert valid.histories.shape == (2, 5) and valid.histories[1, :4].tolist() == [0] * 4


def test_a_cut_in_time_asks_for_the_last_event_of_those_who_have_one_there(tmp_path):
    rows = [*((u, f"i{k}", 10.0 * k) for u in "ab" for k in range(6)), *(("c", f"i{k}", 50.0 + k) for k in range(3))]
    log = workload(tmp_path, events(rows), split="global_time", fractions=(0.5, 0.2, 0.3))
    test = log.asked("test")
    last = log.events("test")
    assert set(test.users.tolist()) == set(last["user"].tolist())
    for user, target in zip(test.users.tolist(), test.targets.tolist(), strict=True):
        assert target == last["item"][last["user"] == user][-1]
    train_end = log.events("train")["time"].max()
    assert train_end < log.events("valid")["time"].min() <= log.events("valid")["time"].max() < last["time"].min()


def test_time_goes_before_the_order_of_the_log(tmp_path):
    rows = [("a", name, time) for name, time in zip("pqrst", (5.0, 4.0, 3.0, 3.0, 1.0), strict=True)]
    log = workload(tmp_path, events(rows))
    assert [log.meta.vocabulary[item] for item in log.sequences("test").items.tolist()] == list("trsqp")


def test_nobody_is_asked_who_has_no_past(tmp_path):
    rows = [*(("a", f"i{k}", 10.0 * k) for k in range(10)), ("late", "i3", 95.0)]
    log = workload(tmp_path, events(rows), split="global_time", fractions=(0.5, 0.2, 0.3))
    assert 1 in log.events("test")["user"].tolist() and log.asked("test").users.tolist() == [0]


def test_all_events_are_steps_of_consecutive_windows(log):
    x, y = (torch.cat(part) for part in zip(*log.batches("train", 2), strict=True))
    assert words(log, x) == [
        "rstuv",
        "pq",
    ] and words(log, y) == ["stuvw", "qr"]
    steps = sorted(
        (a, b) for row, then in zip(x.tolist(), y.tolist(), strict=True) for a, b in zip(row, then, strict=True) if b
    )
    item = log.meta.vocabulary.index
    assert steps == sorted((item(a), item(b)) for a, b in zip("pqrstuv", "qrstuvw", strict=True))


def test_training_draws_a_window_of_each_user_of_two_events_or_more(tmp_path):
    log = workload(tmp_path, walks(users=30, length=20))
    seen = set()
    for epoch in range(30):
        x, y = (torch.cat(part) for part in zip(*log.batches("train", 7, seed=1, epoch=epoch), strict=True))
        again = torch.cat([x for x, _ in log.batches("train", 7, seed=1, epoch=epoch)])
        assert torch.equal(x, again)
        users, starts, counts = log.sequences("train").runs()
        assert len(x) == int((counts > 1).sum())
        seen |= {tuple(row) for row in x.tolist()}
        both = x[:, :-1] > 0
        assert torch.equal(x[:, 1:][both], y[:, :-1][both])  # y is x one item later
        assert ((x > 0) == (y > 0)).all()
    runs = {
        tuple(items[max(0, end - 5) : end])
        for items in (log.sequences("train").items[s : s + c].tolist() for s, c in zip(starts, counts, strict=True))
        for end in range(1, len(items))
    }
    found = {tuple(item for item in row if item) for row in seen}
    assert found <= runs and max(len(row) for row in found) == 5


def test_windows_end_anywhere_that_leaves_them_full(log):
    drawn = {
        word for epoch in range(30) for x, _ in log.batches("train", 9, seed=0, epoch=epoch) for word in words(log, x)
    }
    assert {word for word in drawn if len(word) == 5} == {"pqrst", "qrstu", "rstuv"}


def test_valid_batches_ask_for_the_target_alone(log):
    ((x, y),) = log.batches("valid", 10)
    assert torch.equal(x, log.asked("valid").histories)
    assert torch.equal(y[:, -1], log.asked("valid").targets) and int((y[:, :-1] != 0).sum()) == 0


class Shifted(nn.Module):
    """Scores an item by how near its number is to the last one plus one."""

    def __init__(self, items):
        super().__init__()
        self.items = items

    def forward(self, x):
        return -(torch.arange(self.items + 1.0) - x[..., None] - 1).abs()


def test_loss_and_metrics_are_those_of_the_scores(tmp_path):
    log = workload(tmp_path, walks())
    model = Shifted(log.items)
    batch = next(log.batches("train", 8))
    kept = batch[1] > 0
    chances = model(batch[0])[..., 1:].log_softmax(-1)[kept]
    assert float(log.loss(model, batch)) == pytest.approx(
        -float(chances[range(len(chances)), batch[1][kept] - 1].mean())
    )
    asked = log.asked("test")
    scores = model(asked.histories)[:, -1]
    free = [
        sorted(set(range(1, log.items + 1)) - set(row) | {t})
        for row, t in zip(asked.seen.tolist(), asked.targets.tolist(), strict=True)
    ]
    ranks = [
        1
        + sum(scores[i, j] > scores[i, t] for j in free[i])
        + sum(scores[i, j] == scores[i, t] for j in free[i] if j != t) / 2
        for i, t in enumerate(asked.targets.tolist())
    ]
    assert log.ranks(model, "test").tolist() == [float(rank) for rank in ranks]
    assert log.metrics(model, "test")["mrr"] == pytest.approx(np.mean([1 / float(rank) for rank in ranks]))


def test_models_of_the_registry_fit_and_stay_in_their_mode(tmp_path):
    log = load_workload(workload(tmp_path, walks()).folder)
    assert isinstance(log, Interactions) and log.task == "language"
    for name in ("sasrec", "gru4rec"):
        model = log.build(name, seed=3, d=8).train()
        found = log.metrics(model, "valid")
        assert model.training and 0 <= found["ndcg10"] <= found["hr10"] <= 1
        whole = model.eval()(log.asked("valid").histories)[:, -1]
        assert torch.allclose(log.scores(model, log.asked("valid").histories), whole, atol=1e-5)
        assert model(log.example_inputs(3)).shape == (3, 5, log.items + 1)
        assert log.hook_points(model)[0] == "user_state"


def test_padding_is_in_front_and_windows_end_where_asked():
    items = np.arange(1, 9)
    found = padded(items, np.array([3, 8]), np.array([3, 2]), 4)
    assert found.tolist() == [[0, 1, 2, 3], [0, 0, 7, 8]]


def test_bad_input_is_named(log, tmp_path):
    with pytest.raises(InputError, match="batch size is 0"):
        next(log.batches("train", 0))
    path = log.folder / "train.parquet"
    table = read_parquet(path)
    column = table.schema.get_field_index("item")
    items = [[value] + [1] * (table.num_rows - 1) for value in (0, 11)]
    for spoilt in (table.slice(0, 0), *(table.set_column(column, "item", [values]) for values in items)):
        write_parquet(spoilt, path, {k.decode(): v.decode() for k, v in table.schema.metadata.items()})
        with pytest.raises(InputError, match="holds no events, or an item outside 1 to 10"):
            Interactions(log.folder).events("train")


def test_each_epoch_has_an_order_of_its_own(tmp_path):
    log = workload(tmp_path, walks(users=30, length=6))  # of which no window has room to move
    one, other = (torch.cat([x for x, _ in log.batches("train", 7, seed=0, epoch=epoch)]).tolist() for epoch in (0, 1))
    assert one != other and sorted(one) == sorted(other)


def test_models_are_built_for_the_window_and_scored_without_dropout(log):
    model = log.build("sasrec", d=4, dropout=0.5)
    asked = log.asked("test")
    assert model.window == 5 and model.embedding.num_embeddings == log.items + 1
    scores = log.scores(model.train(), asked.histories)
    assert model.training and torch.allclose(scores, model.eval()(asked.histories)[:, -1], atol=1e-5)
    assert not log.scores(model, asked.histories).requires_grad and not model.training


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_the_loss_of_a_model_is_torchs_with_its_gradients(log, name):
    model = log.build(name, d=4).eval()
    x, y = next(log.batches("train", 4))
    expected = nn.functional.cross_entropy(model(x)[y > 0][:, 1:], y[y > 0] - 1)
    found = log.loss(model, (x, y))
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    for one, other in zip(
        *(torch.autograd.grad(loss, list(model.parameters())) for loss in (found, expected)), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-6)


def test_smoothing_is_torchs_and_times_of_padding_are_before_all(log):
    model = log.build("gru4rec", d=4, hidden=3).eval()
    x, y = next(log.batches("train", 4))
    logits = model(x)[y > 0][:, 1:]
    expected = nn.functional.cross_entropy(logits, y[y > 0] - 1, label_smoothing=0.3)
    assert float(log.loss(model, (x, y), 0.3).detach()) == pytest.approx(float(expected.detach()))
    asked = log.asked("test")
    assert torch.equal(asked.times == -np.inf, asked.histories == 0)
