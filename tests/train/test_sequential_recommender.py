"""Losses are their closed forms, drawn items are nobody's own, and the best epoch is what stays."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from tests.workloads.interaction_log import events, walks, workload
from winnow.errors import InputError
from winnow.models.fitting import fit
from winnow.train.sequential_recommender import (
    _BestEpoch,
    draw_negatives,
    fit_recommender,
    gbce_power,
    sampled_loss,
    taken_items,
)


def scores(places=5, drawn=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(places, generator=generator).double(), torch.randn(places, drawn, generator=generator).double()


def test_bce_is_that_of_torch():
    positive, negative = scores()
    one = binary_cross_entropy_with_logits(positive, torch.ones_like(positive))
    others = binary_cross_entropy_with_logits(negative, torch.zeros_like(negative))
    assert float(sampled_loss("bce", positive, negative)) == pytest.approx(float(one + 3 * others), abs=1e-12)


def test_sampled_softmax_is_a_choice_among_what_was_drawn_and_bpr_a_pairwise_one():
    positive, negative = scores()
    both = torch.cat([positive[:, None], negative], 1).exp()
    expected = -(both[:, 0] / both.sum(1)).log().mean()
    assert float(sampled_loss("sampled_softmax", positive, negative)) == pytest.approx(float(expected), abs=1e-12)
    chances = 1 / (1 + (negative - positive[:, None]).exp())
    assert float(sampled_loss("bpr", positive, negative)) == pytest.approx(-float(chances.log().mean()), abs=1e-12)


def test_gbce_raises_the_probability_of_what_was_taken_to_a_power():
    positive, negative = scores()
    power = 0.3
    expected = -(torch.sigmoid(positive).pow(power).log() + (1 - torch.sigmoid(negative)).log().sum(1)).mean()
    assert float(sampled_loss("gbce", positive, negative, power)) == pytest.approx(float(expected), abs=1e-12)


@given(st.integers(1, 50), st.integers(51, 1000))
def test_calibration_goes_from_bce_to_the_share_that_is_drawn(drawn, items):
    assert gbce_power(drawn, items, 0.0) == pytest.approx(1)
    assert gbce_power(drawn, items, 1.0) == pytest.approx(drawn / (items - 1))
    half = (gbce_power(drawn, items, 0.0) + gbce_power(drawn, items, 1.0)) / 2
    assert gbce_power(drawn, items, 0.5) == pytest.approx(half)


@settings(deadline=None)
@given(st.integers(0, 100))
def test_drawn_items_are_nobodys_own_and_of_all_others(seed):
    torch.manual_seed(seed)
    taken = torch.zeros(2, 11, dtype=torch.bool)
    taken[0, [0, 1, 2, 3]] = taken[1, [0, 5, 6, 7, 8, 9]] = True
    drawn = draw_negatives(torch.tensor([0, 0, 1, 1, 1, 1]), taken, 40)
    assert drawn.shape == (6, 40)
    assert set(drawn[:2].flatten().tolist()) == {4, 5, 6, 7, 8, 9, 10}
    assert set(drawn[2:].flatten().tolist()) == {1, 2, 3, 4, 10}


def test_nothing_is_drawn_that_a_user_took_before_the_window(tmp_path):
    rows = [("a", name, float(i)) for i, name in enumerate("pqrstuvw")] + [("b", "xyz"[i], float(i)) for i in range(3)]
    log = workload(tmp_path, events(rows), window=2)
    taken = taken_items(log)
    train = log.events("train")
    for user in (0, 1):
        own = train["item"][train["user"] == user].tolist()
        assert taken[user].nonzero()[:, 0].tolist() == [0, *sorted(own)]
    asked = []
    plan = _BestEpoch(log, "bpr", 50, 0.75)
    model = log.build("sasrec", d=4).eval()
    for batch in plan.batches("train", 8, 0, 3):
        x, y, users = batch
        drawn = draw_negatives(users[(y > 0).nonzero()[:, 0]], plan.taken, 50)
        asked += [set(row) for row in drawn.tolist()]
        assert np.isfinite(float(plan.loss(model, batch)))
    # The window of the first user holds three of its six training items.
    assert all(not row & set(train["item"][train["user"] == 0].tolist()) for row in asked)


def test_a_user_who_took_all_items_leaves_nothing_to_draw(tmp_path):
    log = workload(tmp_path, events([("a", name, float(i)) for i, name in enumerate("xyxyx")]))
    with pytest.raises(InputError, match="a user took all 2 items; use the loss ce"):
        fit_recommender(log.build("sasrec", d=4), log, loss="bce", epochs=1)


def test_an_unknown_loss_is_refused():
    with pytest.raises(InputError, match="'hinge' is unknown"):
        sampled_loss("hinge", *scores())


def test_ce_is_the_workloads_own_loss(tmp_path):
    log = workload(tmp_path, walks())
    model = log.build("sasrec", d=8).eval()
    batch = next(log.batches_of_users("train", 16))
    plan = _BestEpoch(log, "ce", 1, 0.75)
    assert float(plan.loss(model, batch)) == pytest.approx(float(log.loss(model, batch[:2])), abs=1e-5)


def test_scores_of_a_drawn_loss_are_those_of_the_model(tmp_path):
    log = workload(tmp_path, walks())
    model = log.build("gru4rec", d=8, hidden=6).eval()
    x, y, users = next(log.batches_of_users("train", 16))
    plan = _BestEpoch(log, "gbce", 4, 0.5)
    torch.manual_seed(5)
    found = plan.loss(model, (x, y, users))
    torch.manual_seed(5)
    drawn = draw_negatives(users[(y > 0).nonzero()[:, 0]], taken_items(log), 4)
    all_scores = model(x)[y > 0]
    power = gbce_power(4, log.items, 0.5)
    expected = sampled_loss("gbce", all_scores.gather(1, y[y > 0][:, None])[:, 0], all_scores.gather(1, drawn), power)
    assert float(found) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("loss", ["ce", "bce", "sampled_softmax", "bpr", "gbce"])
def test_every_loss_learns_what_comes_next(tmp_path, loss):
    log = workload(tmp_path, walks(users=80, items=10, length=8))
    model = log.build("sasrec", seed=1, d=16, dropout=0.1)
    before = log.metrics(model, "test")["mrr"]
    history = fit_recommender(model, log, loss=loss, negatives=4, epochs=40, batch_size=16, learning_rate=5e-3, seed=1)
    assert log.metrics(model, "test")["mrr"] > before + 0.2
    assert {metric for metric, _, _ in history} >= {"loss", "valid_ndcg10", "valid_hr10", "valid_mrr"}


def test_the_best_epoch_stays_and_a_broken_run_ends_with_the_same_bits(tmp_path):
    log = workload(tmp_path, walks(users=30))
    plain = {"epochs": 7, "batch_size": 8, "learning_rate": 0.1, "seed": 3, "loss": "bce"}
    straight = log.build("sasrec", seed=0, d=8)
    history = fit_recommender(straight, log, **plain)
    best = max(value for metric, value, _ in history if metric == "valid_ndcg10")
    assert log.metrics(straight, "valid")["ndcg10"] == best
    assert best > [value for metric, value, _ in history if metric == "valid_ndcg10"][-1]  # so the last is not the best

    class Killed(Exception):
        pass

    def stop(done, total):
        if done == total // 2 + 1:
            raise Killed

    broken = log.build("sasrec", seed=0, d=8)
    with pytest.raises(Killed):
        fit_recommender(broken, log, **plain, checkpoint=tmp_path / "c.safetensors", progress=stop)
    again = log.build("sasrec", seed=0, d=8)
    assert fit_recommender(again, log, **plain, checkpoint=tmp_path / "c.safetensors") == history
    for name, value in straight.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_training_is_adams_with_the_betas_of_the_paper(tmp_path):
    log = workload(tmp_path, walks(users=20))
    ours, peer = (log.build("gru4rec", seed=0, d=6, hidden=5, dropout=0.0) for _ in range(2))
    fit_recommender(ours, log, epochs=1, batch_size=8, learning_rate=0.01, seed=3)
    fit(
        peer,
        log,
        epochs=1,
        batch_size=8,
        seed=3,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01, betas=(0.9, 0.98)),
    )
    for first, second in zip(ours.parameters(), peer.parameters(), strict=True):
        assert np.allclose(first.detach(), second.detach(), atol=1e-5)
