"""The three experiments on a small encoder of invented texts."""

import numpy as np
import pytest
import torch

from tests.evaluate.topic_lessons import CONTEXT, SETTINGS, VOCABULARY, lessons
from winnow.errors import InputError
from winnow.evaluate import word_explanation_study as study
from winnow.evaluate.word_explanations import METHODS
from winnow.train.topic_classifier import better_and_worse
from winnow.workloads.docstring_topics import FIRST, PAD, TopicTexts


@pytest.fixture(scope="module")
def given():
    return lessons()


@pytest.fixture(scope="module")
def pair(given):
    return better_and_worse(given, VOCABULARY, CONTEXT, SETTINGS, 0, lambda *done: None)


@pytest.fixture(scope="module")
def made(pair, given):
    return study.study(pair, given, VOCABULARY, SETTINGS, 0, lambda *done: None)


def test_the_chance_to_score_above_is_scikit_learn_s():
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)
    for _ in range(5):
        scores, own = generator.integers(0, 5, 12).astype(float), np.arange(12) % 3 == 0
        found = study.auc(torch.from_numpy(scores), torch.from_numpy(own))
        assert found == pytest.approx(roc_auc_score(own, scores))


def test_words_of_a_topic_are_those_of_the_largest_chi_squared():
    from scipy.stats import chi2_contingency

    texts = lessons().texts["train"]
    texts = TopicTexts(texts.rows[:60], texts.topics[:60])
    found = study.lexicon(texts, VOCABULARY, 3, 4)
    present = np.array([[token in row[1:].tolist() for token in range(VOCABULARY)] for row in texts.rows])
    for topic in range(3):
        own = texts.topics.numpy() == topic
        told = {}
        for token in np.flatnonzero(present.any(0)):
            table = [
                [(present[own, token] == kind).sum(), (present[~own, token] == kind).sum()] for kind in (True, False)
            ]
            if present[own, token].mean() > present[~own, token].mean():
                told[int(token)] = chi2_contingency(table, correction=False).statistic
        best = sorted(told, key=lambda token: (-told[token], token))[:4]
        assert set(found[topic].nonzero()[:, 0].tolist()) == set(best)
    # Words that every text has, and that none of the topic has, tell nothing.
    same = TopicTexts([torch.tensor([FIRST, 7]), torch.tensor([FIRST, 7, 8])], torch.tensor([0, 1]))
    assert study.lexicon(same, 10, 2, 5).nonzero().tolist() == [[1, 8]]


def test_joined_texts_have_one_half_of_each_topic_in_both_orders(pair, given):
    made, first = study.joined(pair.better, given.texts["test"], 40, 0), 0
    for row, own, one, other in made:
        assert row[0] == FIRST and len(row) == len(own) + 1 and one != other
        for topic, mine in ((one, own), (other, ~own)):
            words = row[1:][mine]
            told = words[(words >= 16) & (words < VOCABULARY - 2)]
            assert len(told) and ((told - 16) // 6 == topic).all()
        first += bool(own[0])
    assert 8 < first < 32
    with torch.no_grad():
        blind = type(pair.better)(VOCABULARY, CONTEXT, 3, width=24, heads=2)
        blind.classes.weight.zero_()
    with pytest.raises(InputError, match="one topic at most"):
        study.joined(blind, given.texts["test"], 5, 0)
    assert study.of_phrases(blind, given, 5, 0) == []


def test_long_texts_are_cut_to_halves_that_fit(pair, given):
    texts = given.texts["test"]
    long = TopicTexts([torch.cat([row, row[1:]]) for row in texts.rows], texts.topics)
    assert all(len(row) == 1 + 2 * study.HALF for row, *_ in study.joined(pair.better, long, 4, 0))


def test_phrases_turn_their_texts_and_scores_are_of_both_words(pair, given, made):
    phrases = made[2]
    assert {row["method"] for row in phrases} == {*METHODS} and len(phrases) == 6 * len(METHODS)
    assert all(row["effect"] > 0 for row in phrases)
    whole = {row["method"] for row in phrases if row["phrase"] is not None}
    assert whole == {"cdt", "cdt_split", "leave_one_out"}
    # What hiding the phrase takes away is near to what planting it adds.
    both = [(row["phrase"], row["effect"]) for row in phrases if row["method"] == "leave_one_out"]
    assert all(a > 0 for a, _ in both)


@pytest.mark.parametrize(("turns", "kept"), [("both", True), ("first", False), ("second", False), ("any", False)])
def test_phrases_of_which_one_word_turns_the_text_alone_are_left_out(given, monkeypatch, turns, kept):
    texts = given.texts["test"]
    topics = {tuple(row.tolist()): int(topic) for row, topic in zip(texts.rows, texts.topics, strict=True)}

    def model(padded):
        """Knows each text's topic by heart, and takes the next one where words of the phrase are in it."""
        logits = torch.zeros(len(padded), given.classes)
        for i, row in enumerate(padded):
            held = [token in row for token in given.phrase]
            on = {"both": all(held), "first": held[0], "second": held[1], "any": any(held)}[turns]
            rest = tuple(token for token in row.tolist() if token not in given.phrase and token != PAD)
            logits[i, (topics[rest] + int(on)) % given.classes] = 1
        return logits

    monkeypatch.setattr(study, "METHODS", {"none": lambda model, row, weights, seed: torch.zeros(len(row) - 1)})
    monkeypatch.setattr(study, "phrase_scores", lambda *_: {})
    assert len(study.of_phrases(model, given, 5, 0)) == (5 if kept else 0)


def test_the_rule_prefers_the_model_whose_best_words_tell_the_topic(pair, given, monkeypatch):
    known = study.lexicon(given.texts["train"], VOCABULARY, 3, 6)

    def scores(model, row, weights, seed):
        told = known[int(weights.argmax()), row[1:]].double()
        return told if model is pair.better else -told

    monkeypatch.setattr(study, "METHODS", {"knows": scores, "same": lambda model, row, weights, seed: row[1:].double()})
    found = study.of_user(pair, given, known, 5, 0)
    assert [row["better"] for row in found if row["method"] == "same"] == [0.5] * 5
    assert np.mean([row["better"] for row in found if row["method"] == "knows"]) > 0.8
    turned = pair._replace(better=pair.worse, worse=pair.better)
    found = study.of_user(turned, given, known, 5, 0)
    assert np.mean([row["better"] for row in found if row["method"] == "knows"]) < 0.2


def test_measures_are_means_over_texts(made):
    halves, _, phrases, found = made
    told = study.measures(halves, phrases, found)
    assert {*told} == {*METHODS}
    for name, values in told.items():
        mine = [row for row in phrases if row["method"] == name]
        assert values["sum_right"] == sum(row["sum"] > 0 for row in mine) / 6
        assert values["auc"] == pytest.approx(sum(row["auc"] for row in halves if row["method"] == name) / 6)
        assert ("phrase_right" in values) == (mine[0]["phrase"] is not None)
    rows = [
        {"method": name, "text": i, "sum": total, "phrase": phrase, "effect": 2.0}
        for name in METHODS
        for i, (total, phrase) in enumerate([(1.0, 1.0), (-1.0, 2.0), (0.0, -1.0), (-2.0, 1.0)])
    ]
    told = study.measures(halves, rows, found)["cdt"]
    assert (told["sum_right"], told["phrase_right"], told["sum_wrong"]) == (0.25, 0.75, 3.0)
    assert told["phrase_right_where_sum_wrong"] == pytest.approx(2 / 3)
    assert (told["phrase_error"], told["sum_error"]) == (5 / 8, 10 / 8)
    assert {frozenset(values) for values in study.measures(halves, [], found).values()} == {
        frozenset({"auc", "better"})
    }
    assert "phrase_right_where_sum_wrong" not in study.measures(halves, rows[::4] * 10, found)["cdt"]
