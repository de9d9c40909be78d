"""Plain recommenders are their closed forms, counted by hand or solved another way."""

import numpy as np
import pytest
import torch

from tests.workloads.interaction_log import walks, workload
from winnow.errors import InputError
from winnow.train import plain_recommenders as plain
from winnow.workloads.interactions import Asked, Sequences


def log(users=25, items=9, seed=0):
    generator = np.random.default_rng(seed)
    counts = generator.integers(2, 7, users)
    rows = np.concatenate([generator.choice(np.arange(1, items + 1), n, replace=False) for n in counts])
    return Sequences(np.repeat(np.arange(users), counts), rows, np.arange(len(rows), dtype=float)), items


def ask(*histories):
    width = max(len(history) for history in histories)
    seen = torch.tensor([[0] * (width - len(history)) + list(history) for history in histories])
    return Asked(np.arange(len(histories)), seen, torch.ones(len(histories)).long(), seen, seen.double())


def taken(train, items):
    table = np.zeros((train.users.max() + 1, items + 1))
    table[train.users, train.items] = 1
    return table


def test_popularity_counts_events():
    train, items = log()
    scores = plain.popularity(train, items)(ask([1, 2], [3]))
    assert torch.equal(scores[0], scores[1])
    assert scores[0].tolist() == [float((train.items == item).sum()) for item in range(items + 1)]


def test_a_markov_chain_counts_what_follows_within_users_and_falls_back_on_popularity():
    train, items = log()
    scores = plain.markov(train, items)(ask([5, 2]))[0].numpy()
    follows, overall = np.zeros(items + 1), np.bincount(train.items, minlength=items + 1) / len(train.items)
    for user in range(train.users.max() + 1):
        own = train.items[train.users == user]
        for one, other in zip(own, own[1:], strict=False):
            follows[other] += one == 2
    assert scores == pytest.approx((follows + overall) / (follows.sum() + 1), abs=1e-12)
    assert scores.sum() == pytest.approx(1)


def test_likeness_is_the_shrunk_cosine_of_the_nearest():
    train, items = log()
    x = taken(train, items)
    like = plain.likeness(train, items, 3).numpy()
    for one in range(1, items + 1):
        full = [x[:, one] @ x[:, j] / (np.sqrt(x[:, one].sum() * x[:, j].sum()) + 10) for j in range(items + 1)]
        full[one] = 0
        least = sorted(full)[-3]
        assert like[one] == pytest.approx([value if value >= least else 0 for value in full], abs=1e-12)


def test_neighbours_sum_likeness_to_the_history_and_may_forget():
    train, items = log()
    like = plain.likeness(train, items)
    asked = ask([1, 2, 3], [4])
    assert torch.allclose(plain.item_neighbours(like)(asked)[0], like[1] + like[2] + like[3])
    recent = plain.item_neighbours(like, 0.5)(asked)
    assert torch.allclose(recent[0], 0.25 * like[1] + 0.5 * like[2] + like[3])
    assert torch.allclose(recent[1], like[4])
    again = plain.item_neighbours(like, 0.5)(ask([2, 3, 2]))[0]
    assert torch.allclose(again, 0.5 * like[3] + like[2])  # the later time of an item counts


def test_ease_is_the_ridge_regression_of_each_item_on_all_others():
    train, items = log(users=40)
    x = taken(train, items)[:, 1:]
    scores = plain.ease(train, items, 3.0)(ask(*[[item] for item in range(1, items + 1)])).numpy()
    for target in range(items):
        others = [j for j in range(items) if j != target]
        gram = x[:, others].T @ x[:, others] + 3.0 * np.eye(items - 1)
        weights = np.linalg.solve(gram, x[:, others].T @ x[:, target])
        assert scores[others, target + 1] == pytest.approx(weights, abs=1e-9)
        assert scores[target, target + 1] == 0


def test_factorisation_learns_whom_an_item_is_for_and_keeps_its_best_epoch():
    users = [user for user in range(20) for _ in range(4)]
    half = [[1, 2, 3, 4], [5, 6, 7, 8]]
    items = [half[user % 2][place] for user in range(20) for place in range(4)]
    keep = np.ones(80, bool)
    keep[::7] = False
    train = Sequences(np.array(users)[keep], np.array(items)[keep], np.arange(80.0)[keep])
    asked = Asked(
        np.arange(21), torch.zeros(21, 1).long(), torch.ones(21).long(), torch.zeros(21, 1).long(), torch.zeros(21, 1)
    )
    seen = []

    def judge(score):
        scores = score(asked)
        own = scores[:20, 1:5].mean(1) - scores[:20, 5:9].mean(1)
        seen.append(float((own * torch.tensor([1.0, -1.0]).repeat(10)).mean()))
        return seen[-1]

    found = plain.factorisation(train, 8, 21, epochs=30, seed=0, judge=judge)
    best = max(seen)
    assert judge(found) == pytest.approx(best) and best > seen[0] + 0.3
    assert float(found(asked)[20].abs().max()) < 1  # a user without events has no factors


def test_the_loss_of_a_pair_is_that_of_its_paper():
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(size, generator=generator) for size in ((3, 4), (6, 4), (6, 1))]
    user, item, drawn = torch.tensor([0, 2]), torch.tensor([1, 5]), torch.tensor([2, 3])
    expected = 0.0
    for u, i, j in ((0, 1, 2), (2, 5, 3)):
        gap = parts[0][u] @ parts[1][i] - parts[0][u] @ parts[1][j] + parts[2][i, 0] - parts[2][j, 0]
        expected -= float(torch.sigmoid(gap).log()) / 2
        expected += 1e-5 * float(parts[0][u].square().sum() + parts[1][i].square().sum() + parts[1][j].square().sum())
    assert float(plain._bpr(parts, user, item, drawn)) == pytest.approx(expected, abs=1e-6)


def test_what_was_taken_is_never_drawn_and_a_user_with_all_items_is_refused():
    own = torch.tensor([[True, True, False, True], [True, False, False, True]])
    generator = torch.Generator().manual_seed(0)
    drawn = plain._not_taken(own, torch.tensor([0, 1] * 50), generator)
    assert set(drawn[::2].tolist()) == {2} and set(drawn[1::2].tolist()) == {1, 2}
    train = Sequences(np.array([0, 0]), np.array([1, 2]), np.arange(2.0))
    with pytest.raises(InputError, match="a user took all 2 items; leave the user out"):
        plain.factorisation(train, 2, 1, epochs=1, seed=0, judge=lambda score: 0.0)


def test_a_circle_of_items_is_a_markov_chains_own(tmp_path):
    circle = workload(tmp_path, walks(users=60))
    asked = circle.asked("test")
    scores = plain.markov(circle.sequences("train"), circle.items)(asked)
    follows = [
        circle.meta.vocabulary.index(f"i{(int(name[1:]) + 1) % 12}")
        for name in (circle.meta.vocabulary[item] for item in asked.histories[:, -1].tolist())
    ]
    assert (scores.argmax(1).numpy() == follows).mean() > 0.9
