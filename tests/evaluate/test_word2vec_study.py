"""Questions come from other files, hits are counted by hand, and every method has as many trials."""

from types import SimpleNamespace

import numpy as np
import pytest

from winnow.curate.cross_entropy import Choice
from winnow.errors import InputError
from winnow.evaluate.word2vec_study import (
    DEFAULT,
    METHODS,
    SPACE,
    Trial,
    best_point,
    corpus,
    edge_hits,
    hit_rate,
    identifier_lines,
    judged,
    neighbours,
    plain,
    rounds_of,
    search,
    trained,
)

SETTINGS = SimpleNamespace(rho=0.5, alpha=0.7)


def texts(count, seed):
    generator = np.random.default_rng(seed)
    topics = [[f"{topic}{i}" for i in range(12)] for topic in ("red", "blue")]
    lines = [", ".join(generator.choice(topics[generator.integers(2)], 5)) for _ in range(count)]
    return ["\n".join(lines[start : start + 10]) for start in range(0, count, 10)]


@pytest.fixture(scope="module")
def words():
    return corpus({"train": texts(300, 0), "valid": texts(60, 1), "held_out": texts(60, 2)}, 1200, 20, 40)


def test_lines_are_their_identifiers_without_keywords():
    text = "for item in items: total += item.size\nreturn x\n# a_b(c1, 'd e')\nif a: b"
    assert list(identifier_lines([text])) == [["item", "items", "total", "item", "size"], ["a_b", "c1", "d", "e"]]


def test_the_corpus_takes_so_many_identifiers_and_asks_about_other_files(words):
    assert len(words.words) == 20 and sum(map(len, words.lines)) <= 1200
    counts = np.bincount(np.concatenate(words.lines), minlength=20)
    assert (np.diff(counts) <= 2).all() and counts[0] >= counts[-1]  # the most frequent first
    for others, missing in (words.valid, words.test):
        assert len(others) == len(missing) == 40
        for row, word in zip(others, missing, strict=True):
            known = [words.words[i] for i in row[row >= 0]]
            assert known and words.words[word] not in known
            assert {name[0] for name in known} == {words.words[word][0]}  # of one topic, as the line is
    with pytest.raises(InputError, match="held_out: has no line with three identifiers"):
        corpus({"train": texts(300, 0), "valid": texts(60, 1), "held_out": ["a"]}, 1200, 20, 40)


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
            assert value in each.values if isinstance(each, Choice) else each.low <= value <= each.high
    if method == "one_factor":
        assert trials[0].point == DEFAULT
        changed = [[name for name in DEFAULT if trial.point[name] != DEFAULT[name]] for trial in trials[1:]]
        assert all(len(names) <= 1 for names in changed)
        assert changed[0] == ["lr"] and changed[1] == ["power"]
    again, _ = search(method, words, 2, 4, SETTINGS, 1, lambda step, total: None)
    assert [(t.point, t.score) for t in again] == [(t.point, t.score) for t in trials]
    other, _ = search(method, words, 2, 4, SETTINGS, 2, lambda step, total: None)
    assert [t.point for t in other] != [t.point for t in trials]


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
    assert edge_hits(DEFAULT) == 1  # 64 dimensions
    assert edge_hits(DEFAULT | {"lr": 0.2, "power": -1.0, "subsample": 1e-5, "window": 2, "epochs": 8}) == 6


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
