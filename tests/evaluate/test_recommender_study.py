"""All recommenders get the same questions, each user counts once, and shuffling changes order and nothing else."""

import numpy as np
import pytest
import torch

from tests.workloads.interaction_log import events, walks, workload
from winnow.evaluate import recommender_study as study
from winnow.evaluate.recommender_study import Arm
from winnow.workloads.ranking import gains, ranks


@pytest.fixture
def log(tmp_path):
    return workload(tmp_path, walks(users=60, items=30, length=12))


def test_every_plain_recommender_is_there_and_has_the_setting_that_is_best_on_valid(log):
    arms = list(study.plain_arms(log, epochs=2, seed=0))
    names = ["popularity", "markov", "item_neighbours", "recent_neighbours", "factorisation", "ease"]
    assert [arm.name for arm in arms] == names
    judge = study.judged(log)
    like = study.plain.likeness(log.sequences("train"), log.items, 20)
    tried = [judge(study.plain.item_neighbours(like, decay)) for decay in study.DECAYS]
    assert judge(arms[3].score) >= max(tried) and arms[3].setting.partition(",")[0].endswith("neighbours")
    penalties = [judge(study.plain.ease(log.sequences("train"), log.items, p)) for p in study.PENALTIES]
    assert judge(arms[5].score) == max(penalties)
    assert judge(arms[1].score) > judge(arms[0].score)  # the log goes in a circle


def test_judging_is_ndcg_on_valid(log):
    score = study.plain.markov(log.sequences("train"), log.items)
    asked = log.asked("valid")
    assert study.judged(log)(score) == pytest.approx(gains(ranks(score(asked), asked.targets, asked.seen)).mean())


def test_a_trained_arm_ranks_as_the_workload_does(log):
    model = log.build("gru4rec", d=6, hidden=5).eval()
    arm = study.trained_arm(log, "gru4rec", model)
    assert np.array_equal(study.rank_all(arm, log.asked("test")), log.ranks(model, "test"))


def test_shuffling_keeps_what_was_taken_and_padding_where_it_is(log):
    asked = log.asked("test")
    mixed = study.shuffled(asked, seed=0, draw=0)
    assert torch.equal(asked.histories == 0, mixed.histories == 0)
    assert torch.equal(asked.histories.sort(1).values, mixed.histories.sort(1).values)
    assert torch.equal(asked.seen.sort(1).values, mixed.seen.sort(1).values)
    assert torch.equal(mixed.seen[:, -mixed.histories.shape[1] :], mixed.histories)
    changed = (asked.histories != mixed.histories).any(1)
    assert changed.float().mean() > 0.8
    assert torch.equal(study.shuffled(asked, 0, 0).histories, mixed.histories)
    assert not torch.equal(study.shuffled(asked, 0, 1).histories, mixed.histories)
    assert torch.equal(mixed.targets, asked.targets)


def test_items_go_with_their_times_and_ties_alone_may_change_places(tmp_path):
    rows = [(u, f"i{k}", float(k // 2)) for u in "abcdefgh" for k in range(6)]
    asked = workload(tmp_path, events(rows), window=6).asked("test")
    mixed = [study.shuffled(asked, 0, draw, ties_only=True) for draw in range(10)]
    for found in mixed:
        assert torch.equal(found.times, asked.times)
        for start in (1, 3):  # five events before the target: three times, of which the last is of one event
            pair = slice(start, start + 2)
            assert torch.equal(found.histories[:, pair].sort(1).values, asked.histories[:, pair].sort(1).values)
    assert any(not torch.equal(found.histories, asked.histories) for found in mixed)
    free = study.shuffled(asked, 0, 0)
    for row, times in zip(free.histories.tolist(), free.times.tolist(), strict=True):
        for item, time in zip(row, times, strict=True):
            assert (item == 0) == (time == -np.inf)


def test_parts_are_of_equal_size_and_hold_everybody_once():
    values = np.random.default_rng(0).permutation(100)
    parts = study.strata(values)
    assert [int(mask.sum()) for mask in parts.values()] == pytest.approx([25] * 4, abs=1)
    assert np.sum(list(parts.values()), axis=0).tolist() == [1] * 100
    assert list(parts)[0].startswith("0 to ") and list(parts)[-1].endswith(" to 99")
    assert list(study.strata(np.array([3, 3, 3]))) == ["3 to 3"]


def test_what_is_told_of_an_arm_agrees_with_its_ranks(log):
    arm = Arm("markov", study.plain.markov(log.sequences("train"), log.items))
    asked = log.asked("test")
    found = study.ranked(arm, log, 0)
    told, users = study.told_of(found, log), study.by_user(found, asked.users)
    placed = study.rank_all(arm, asked)
    assert np.array_equal(found.test, placed)
    assert np.array_equal(found.valid, study.rank_all(arm, log.asked("valid")))
    for draw, again in enumerate(found.shuffled):
        assert np.array_equal(again, study.rank_all(arm, study.shuffled(asked, 0, draw)))
    test = told["test"]
    assert test["plain"]["ndcg10"] == pytest.approx(gains(placed).mean())
    assert np.mean([gain for _, gain, _ in users["plain"]]) == pytest.approx(test["plain"]["ndcg10"])
    assert np.mean([gain for _, gain, _ in users["shuffled"]]) == pytest.approx(test["shuffled"]["ndcg10"])
    assert np.mean([gain for _, gain, _ in users["ties"]]) == pytest.approx(test["ties"]["ndcg10"])
    assert test["shuffled"]["ndcg10"] < test["plain"]["ndcg10"]
    assert test["ties"]["ndcg10"] == pytest.approx(test["plain"]["ndcg10"])  # this log has no ties
    assert [user for _, _, user in users["plain"]] == asked.users.tolist()
    for what in ("history", "popularity"):
        parts = [values for name, values in test.items() if name.startswith(what)]
        assert sum(part["users"] for part in parts) == len(placed)
        mean = sum(part["ndcg10"] * part["users"] for part in parts) / len(placed)
        assert mean == pytest.approx(test["plain"]["ndcg10"])
    assert 0 < test["plain"]["coverage"] <= 1 and test["plain"]["offered_popularity"] > 0


def test_every_question_is_ranked_once(log):
    asked = []
    score = study.plain.popularity(log.sequences("train"), log.items)
    study.ranked(Arm("counted", lambda one: asked.append(one) or score(one)), log, 0)
    assert len(asked) == 2 + 2 * study.DRAWS


def test_popularity_offers_what_is_taken_most(log):
    arm = Arm("popularity", study.plain.popularity(log.sequences("train"), log.items))
    told = study.told_of(study.ranked(arm, log, 0), log)["test"]["plain"]
    counts = np.bincount(log.events("train")["item"], minlength=log.items + 1)
    offered = []
    for seen in log.asked("test").seen.tolist():
        free = [item for item in range(1, log.items + 1) if item not in seen]
        offered.append(sorted(free, key=lambda item: (-counts[item], item))[:10])
    assert told["offered_popularity"] == pytest.approx(counts[np.array(offered)].mean())
    assert told["coverage"] == len(np.unique(offered)) / log.items


def test_ranks_are_told_of_the_users_that_both_splits_ask(log):
    valid, test = log.asked("valid").users, log.asked("test").users
    found = study.ranked(Arm("a", study.plain.popularity(log.sequences("train"), log.items)), log, 0)
    rows = study.rank_rows({"a": found._replace(valid=valid * 2.0, test=test * 3.0)}, log)
    assert rows["user"] == sorted(set(valid.tolist()) & set(test.tolist()))
    assert rows["rank_valid"] == [2.0 * u for u in rows["user"]] and rows["rank_test"] == [
        3.0 * u for u in rows["user"]
    ]
    assert set(rows["arm"]) == {"a"}


def test_near_items_are_those_of_the_largest_cosines():
    generator = torch.Generator().manual_seed(0)
    embedding, counts = torch.randn(40, 4, generator=generator), np.r_[0, np.arange(39, 0, -1) * 10]
    rows = study.nearest(embedding, counts, [str(i) for i in range(40)], shown=2, near=3)
    assert [row["title"] for row in rows] == ["1"] * 3 + ["2"] * 3
    known = [i for i in range(40) if counts[i] >= 20]
    for item in (1, 2):
        cosine = torch.nn.functional.cosine_similarity(embedding[item][None], embedding)
        best = sorted((i for i in known if i != item), key=lambda i: -float(cosine[i]))[:3]
        mine = [row for row in rows if row["title"] == str(item)]
        assert [row["near"] for row in mine] == [str(i) for i in best]
        assert [row["cosine"] for row in mine] == pytest.approx([float(cosine[i]) for i in best], abs=1e-5)
