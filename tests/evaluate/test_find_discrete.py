"""Code is scored by what was held out, words by whether they tell a function's answers from those of two others."""

import numpy as np
import pytest

from winnow.evaluate.find_discrete import claim_of, held_out, score_discrete, unit_test
from winnow.evaluate.find_interpreters import Interpretation
from winnow.sandbox import Outcome
from winnow.workloads import find_relations, find_strings
from winnow.workloads.find_concepts import shown_words
from winnow.workloads.find_functions import entity_functions, relation_functions, string_functions

PROGRAMS, CONCEPTS, RELATIONS = string_functions(12, 3), entity_functions(14, 2), relation_functions(14, 1)


def test_scores_are_shares_of_held_out_and_wrong_code_scores_nothing():
    record = PROGRAMS[0]
    true = find_strings.parse(record["description"])
    texts = held_out(record, 0)
    assert len(texts) == 10 and texts[0] == "" and held_out(record, 1) != texts
    answers = [find_strings.apply(true, text) for text in texts]
    right = Interpretation(record["description"], record["code"], None, 1.0)
    scores = score_discrete(record, right, Outcome("ok", answers, ""), PROGRAMS, 0)
    assert scores["success"] and scores["match"] == 1 and scores["family_right"] and scores["unit_test"]
    nearly = score_discrete(record, right, Outcome("ok", [*answers[:9], "x" + answers[9]], ""), PROGRAMS, 0)
    assert not nearly["success"] and nearly["match"] == pytest.approx(0.9)
    for outcome in (Outcome("limit", [], "TimeLimit"), Outcome("ok", [3.0] * 10, "")):
        failed = score_discrete(record, right, outcome, PROGRAMS, 0)
        assert failed["match"] == 0 and failed["reason"] == outcome.reason
    silent = score_discrete(
        record, right._replace(description="it is a riddle"), Outcome("ok", answers, ""), PROGRAMS, 0
    )
    assert silent["success"] and not silent["family_right"]


def test_the_unit_test_is_passed_by_the_truth_and_by_a_third_of_guesses():
    tests = [(record, seed) for record in PROGRAMS for seed in range(25)]
    assert all(unit_test(record, record, PROGRAMS, seed) for record, seed in tests)
    guesses = [unit_test(record, None, PROGRAMS, seed) for record, seed in tests]
    assert np.mean(guesses) == pytest.approx(1 / 3, abs=5 * (2 / 9 / len(tests)) ** 0.5)
    other = claim_of("string", PROGRAMS[1]["description"])
    assert np.mean([unit_test(PROGRAMS[0], other, PROGRAMS, seed) for seed in range(25)]) < 0.7
    assert unit_test(PROGRAMS[0], other, PROGRAMS[:2], 0) is None


def test_concepts_are_judged_on_words_that_nobody_may_ask():
    assert set(held_out(CONCEPTS[0], 0)) == set(shown_words(False))
    assert all(unit_test(record, record, CONCEPTS, 0) for record in CONCEPTS)


def test_the_unit_test_shows_a_word_of_the_group():
    for record in RELATIONS:
        own = set(held_out(record, 0))
        assert own <= set(find_relations.related_words(False)) and len(own) >= 4
        assert unit_test(record, record, RELATIONS, 0)
        clean = claim_of("relation", record["description"].split(" but ")[0])
        assert clean["spec"] == f'["{record["family"]}", "", ""]' and not clean["composed"]
