"""Hits are counted by hand, and every method has as many trials, of which those of one setting at a time end joined."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.evaluate.test_word2vec_corpora import texts
from winnow.curate.cross_entropy import Choice
from winnow.evaluate.word2vec_corpora import corpus
from winnow.evaluate.word2vec_study import (
    DEFAULT,
    METHODS,
    SPACE,
    Trial,
    best_point,
    combined,
    costs,
    edge_hits,
    hit_rate,
    judged,
    neighbours,
    plain,
    rounds_of,
    search,
    trained,
)

SETTINGS = SimpleNamespace(rho=0.5, alpha=0.7)


@pytest.fixture(scope="module")
def words():
    return corpus({"train": texts(300, 0), "valid": texts(60, 1), "held_out": texts(60, 2)}, 1200, 20, 40)


def test_a_hit_is_a_missing_word_among_ten():
    vectors = np.eye(15, dtype=np.float32)
    context = np.zeros((15, 15), np.float32)
    context[:, 0] = np.arange(15, 0, -1)  # word 0 points to 0, 1, 2 ...; itself is left out
    others, missing = np.array([[0, -1]] * 3), np.array([1, 10, 11])
    assert hit_rate(vectors, context, (others, missing)) == pytest.approx(2 / 3)
    # two words point to the mean of what each points to
    context[:, 1] = np.arange(15)
    both = np.array([[0, 1]])
    mean = (context[:, 0] + context[:, 1]) / 2
    rank = sum(mean[i] > mean[14] for i in range(2, 15))
    assert hit_rate(vectors, context, (both, np.array([14]))) == float(rank < 10)
    assert np.isnan(hit_rate(vectors * np.nan, context, (both, np.array([1]))))
    assert np.isnan(hit_rate(vectors, context / 0 if False else np.full((15, 15), np.inf), (both, np.array([1]))))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_as_many_trials_within_the_space(words, method):
    steps = []
    trials, laws = search(method, words, 2, 4, SETTINGS, 1, lambda step, total: steps.append((step, total)))
    assert len(trials) == 8 and steps == [(i, 8) for i in range(1, 9)]
    assert [trial.round for trial in trials] == [0] * 4 + [1] * 4
    assert len(laws) == (2 if method == "cross_entropy" else 0)
    assert [sum(t.elite for t in trials[i : i + 4]) for i in (0, 4)] == [2 * (method == "cross_entropy")] * 2
    for trial in trials:
        assert list(trial.point) == [each.name for each in SPACE] or method == "one_factor"
        for each in SPACE:
            value = trial.point[each.name]
            if method == "one_factor" and value == DEFAULT[each.name]:
                continue
            assert value in each.values if isinstance(each, Choice) else each.low <= value <= each.high
    if method == "one_factor":
        assert trials[0].point == DEFAULT
        changed = [[name for name in DEFAULT if trial.point[name] != DEFAULT[name]] for trial in trials[1:-1]]
        assert trials[-1].point == combined([t.point for t in trials[:-1]], [t.score for t in trials[:-1]])
        assert all(len(names) <= 1 for names in changed)
        assert changed[0] == ["lr"] and changed[1] == ["power"]
    again, _ = search(method, words, 2, 4, SETTINGS, 1, lambda step, total: None)
    assert [(t.point, t.score) for t in again] == [(t.point, t.score) for t in trials]
    other, _ = search(method, words, 2, 4, SETTINGS, 2, lambda step, total: None)
    assert [t.point for t in other] != [t.point for t in trials]


def test_the_best_levels_are_joined_and_the_default_s_where_nothing_else_is_better():
    moved = [{}, {"lr": 0.1}, {"lr": 0.2}, {"window": 2}, {"dim": 16}, {"dim": 32, "epochs": 2}]
    points = [DEFAULT | each for each in moved]
    joined = combined(points, [0.5, 0.6, 0.7, 0.4, float("nan"), 0.9])
    assert joined == DEFAULT | {"lr": 0.2}  # the last moves two settings, and says nothing about either
    assert combined(points[:1], [float("nan")]) == DEFAULT


def test_the_default_is_gensim_s():
    assert DEFAULT == {"lr": 0.025, "window": 5, "negatives": 5, "power": 0.75, "subsample": 1e-3} | {
        "dim": 100, "epochs": 5, "architecture": "cbow"
    }  # fmt: skip


def test_vectors_that_tell_nothing_apart_find_nothing():
    questions = np.array([[0]] * 3), np.array([1, 2, 3])
    for context in (np.zeros((30, 4), np.float32), np.ones((30, 4), np.float32)):
        assert hit_rate(np.ones((30, 4), np.float32), context, questions) == 0
    # Of 20 that tie, the missing one stands in the middle: before it 9.5 on average, of 21 it is 10.
    for ties, score in ((20, 1), (21, 0)):
        context = np.zeros((30, 4), np.float32)
        context[1 : 1 + ties] = 1
        assert hit_rate(np.ones((30, 4), np.float32), context, questions) == score


def test_the_law_comes_with_its_mode_and_costs_add_up(words):
    trials, laws = search("cross_entropy", words, 2, 4, SETTINGS, 1, lambda step, total: None)
    for law in laws:
        for each in SPACE:
            if isinstance(each, Choice):
                shares = law["law"][each.name]
                assert shares[law["mode"][each.name]] == max(shares.values())
    told = costs(trials)
    total = sum(trial.seconds for trial in trials)
    assert told[0][::2] == ("seconds", None) and told[0][1] == pytest.approx(total) == pytest.approx(told[-1][1])
    assert [step for _, _, step in told[1:]] == list(range(1, 9))
    assert all(name == "seconds_so_far" for name, _, _ in told[1:])


def test_what_is_found_is_the_best_and_runs_that_diverged_are_not():
    trials = [Trial(0, {"lr": i}, score, False, 0.0) for i, score in enumerate([0.1, np.nan, 0.5, 0.5])]
    assert best_point(trials) == {"lr": 2}


def test_the_end_is_judged_by_fresh_seeds_on_other_packages(words):
    point = DEFAULT | {"lr": 0.15, "dim": 16, "epochs": 8, "subsample": 0.1}
    score = judged(words, point, 0, 3)
    assert score == judged(words, point, 0, 3)
    assert judged(words, DEFAULT, 0, 2) != judged(words, DEFAULT, 1, 2)
    assert score > 0.7  # ten of the other eleven of a topic, if topics are told apart; by chance about half
    alone = trained(words, point, 0)
    assert hit_rate(alone.vectors, alone.context, words.test) == pytest.approx(score, abs=0.2)
    near = neighbours(words, alone, 4)
    assert [row["word"] for row in near] == words.words[:4]
    for row in near:
        found = row["neighbours"].split(", ")
        assert len(found) == 5 and row["word"] not in found
        assert sum(name[0] == row["word"][0] for name in found) >= 4


def test_edges_are_counted():
    assert edge_hits(DEFAULT) == 0 and edge_hits(DEFAULT | {"dim": 64}) == 1
    assert edge_hits(DEFAULT | {"dim": 64, "lr": 0.2, "power": -1.0, "subsample": 1e-5, "window": 2, "epochs": 8}) == 6


def test_rounds_are_those_of_the_method_itself():
    rows = [
        {"method": "cross_entropy", "round": 0, "score": 0.1},
        {"method": "cross_entropy", "round": 0, "score": float("nan")},
        {"method": "cross_entropy", "round": 1, "score": 0.3},
        {"method": "random", "round": 1, "score": 0.9},
    ]
    assert rounds_of(rows) == {"first round": 0.05, "last round": 0.3}


def test_laws_have_values_of_choices_as_text(words):
    _, laws = search("cross_entropy", words, 2, 4, SETTINGS, 0, lambda step, total: None)
    told = plain(laws)
    assert [law["round"] for law in told] == [0, 1] and all(np.isfinite(law["threshold"]) for law in told)
    for each in SPACE:
        keys = {str(value) for value in each.values} if isinstance(each, Choice) else {"mean", "deviation"}
        assert all(set(law["law"][each.name]) == keys for law in told)
    first = next(each for each in SPACE if isinstance(each, Choice))
    assert [laws[0]["law"][first.name][value] for value in first.values] == [
        told[0]["law"][first.name][str(value)] for value in first.values
    ]
