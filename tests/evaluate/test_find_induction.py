"""Programs are found from their answers, as brute force finds them; what is said of them is scored as defined."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from tests.evaluate.drawing import drawn, found
from winnow.errors import InputError
from winnow.evaluate import find_charts, find_induction, find_study
from winnow.evaluate.find_benchmark import interpret, scored
from winnow.evaluate.find_induction import TEXT_INTERPRETERS, Induction, RandomProgram, TextMemoriser, agreeing
from winnow.pipeline.tables import metric_rows
from winnow.workloads.find_functions import Function, string_functions
from winnow.workloads.find_strings import apply, describe, draw_texts, parse, program_of, source, steps

RECORDS = string_functions(12, 3)
TEXTS = draw_texts(9, np.random.default_rng(0))[1:]


def program_of_record(record):
    return parse(record["description"])


def test_what_agrees_is_what_brute_force_finds_but_for_first_steps_that_are_alike():
    target = (("swap_halves", ()), ("add", ("ing",)))
    texts = TEXTS[:2]
    answers = [apply(target, text) for text in texts]
    every = [(step,) for step in steps()] + list(product(steps(), steps()))
    expected = {p for p in every if [apply(p, text) for text in texts] == answers}
    kept = agreeing(texts, answers)
    assert set(kept) <= expected and target in kept and len(set(kept)) == len(kept)

    def between(program):
        return [apply(program[:1], text) for text in texts], program[1:]

    assert {str(between(p)) for p in expected} == {str(between(p)) for p in kept}
    assert [len(p) for p in kept] == sorted(len(p) for p in kept)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r["family"])
def test_search_finds_programs_that_answer_as_the_function_does(record):
    said, calls = interpret(record, Induction(), 32, 0)
    true, texts = program_of_record(record), draw_texts(100, np.random.default_rng(9))
    claimed = parse(said.description)
    assert calls <= 32 and said.code == source(claimed)
    assert np.mean([apply(claimed, t) == apply(true, t) for t in texts]) > 0.95


def test_adaptive_queries_stop_when_one_candidate_is_left_and_random_ones_use_the_budget():
    said, calls = interpret(RECORDS[0], Induction(), 64, 0)
    assert 4 <= calls < 64 and 0 < said.confidence <= 1
    _, calls = interpret(RECORDS[0], Induction(adaptive=False), 64, 0)
    assert calls == 64


def test_each_text_that_is_asked_tells_most_of_the_candidates_apart(monkeypatch):
    """The first four are drawn, without the empty text; then the entropy of answers, by scipy, decides among 60."""
    pools, asked, plain = [], [], find_induction.draw_texts

    def drawing(count, generator):
        pools.append(plain(count, generator))
        return pools[-1]

    class Watched(Function):
        def query(self, inputs):
            asked.append(list(inputs))
            return super().query(inputs)

    def surprise(text):
        return stats.entropy(list(Counter(apply(program, text) for program in left[:200]).values()), base=2)

    monkeypatch.setattr(find_induction, "draw_texts", drawing)
    searched = 0
    for seed, record in enumerate(RECORDS):
        pools.clear(), asked.clear()
        said = Induction().interpret(Watched(record, 0, 20), np.random.default_rng(seed))
        assert asked[0] == pools[0][1:] and len(asked[0]) == 4
        true = program_of_record(record)
        left = agreeing(asked[0], [apply(true, text) for text in asked[0]])
        for pool, texts in zip(pools[1:], asked[1:], strict=False):
            assert len(pool) == 60 and len(texts) == 1 and len(left) > 1
            assert surprise(texts[0]) == pytest.approx(max(map(surprise, pool))) != 0
            left = [program for program in left if apply(program, texts[0]) == apply(true, texts[0])]
            searched += 1
        assert len(left) == 1 or max(map(surprise, pools[-1])) == 0
        assert said.confidence == 1 / len(left) and said.code == source(left[0])
        assert said.description == describe(left[0])
    assert searched > 3


def test_a_budget_of_the_first_texts_alone_is_kept_to():
    said, calls = interpret(RECORDS[0], Induction(), 4, 0)
    assert calls == 4 and said.confidence > 0


def test_a_memory_has_the_answers_and_leaves_other_texts_as_they_are():
    function = Function(RECORDS[0], 0, 16)
    said = TextMemoriser().interpret(function, np.random.default_rng(0))
    scope, true = {}, program_of_record(RECORDS[0])
    exec(said.code, scope)
    texts = draw_texts(16, np.random.default_rng(0))
    assert [scope["f"](text) for text in texts] == [apply(true, text) for text in texts]
    assert scope["f"]("never asked") == "never asked" and said.confidence == 0


def test_answers_of_no_program_are_owned_up_to(monkeypatch):
    monkeypatch.setattr("winnow.evaluate.find_induction.agreeing", lambda texts, answers: [])
    said, _ = interpret(RECORDS[0], Induction(), 8, 0)
    assert said.confidence == 0 and parse(said.description) is None and said.code == "def f(x):\n    return x\n"


def test_baselines_remember_or_guess():
    said, calls = interpret(RECORDS[0], TextMemoriser(), 16, 0)
    assert calls == 16 and parse(said.description) is None
    said, calls = interpret(RECORDS[0], RandomProgram(), 16, 0)
    assert calls == 0 and len(parse(said.description)) == 1
    assert [i.name for i in TEXT_INTERPRETERS] == ["induction", "induction_random", "text_memoriser", "random_program"]
    assert [i.adaptive for i in TEXT_INTERPRETERS[:2]] == [True, False]


def test_functions_of_texts_go_through_arms_audit_summaries_and_charts():
    arms = [arm for arm in find_study.arms([8, 16], 16) if arm[0].kinds == ("string",)]
    assert [(i.name, budget) for i, budget in arms] == [
        ("induction", 8),
        ("induction", 16),
        ("induction_random", 8),
        ("induction_random", 16),
        ("text_memoriser", 16),
        ("random_program", 16),
    ]
    rows = scored(RECORDS, arms, 16, 0, lambda done, total: None)
    assert len(rows) == 12 * 6 and {row["kind"] for row in rows} == {"string"}
    assert len({tuple(row) for row in rows}) == 1  # one table
    metrics = find_study.summaries(rows)
    assert metrics["induction-string-16"]["success"] > 0.8 > metrics["random_program-string-16"]["success"]
    assert metrics["text_memoriser-string-16"]["success"] < 0.3
    assert find_study.confirmed(RECORDS, 0) == [True] * 12
    wrong = [RECORDS[0] | {"code": "def f(x):\n    return x\n"}, RECORDS[0] | {"composed": not RECORDS[0]["composed"]}]
    assert find_study.confirmed([*wrong, RECORDS[0] | {"description": "else"}], 0) == [False] * 3
    table = pa.concat_tables(
        metric_rows(values, system="find_benchmark", workload="w", split="test", seed=0, variant=variant)
        for variant, values in metrics.items()
    )
    chart = find_charts.text_bars(table, 16)
    bars = {(row["interpreter"], row["on"]): row["mean"] for row in drawn(chart) if "mean" in row}
    assert bars["induction", "words: unit test"] == pytest.approx(metrics["induction-string-16"]["unit_test"])
    assert "share of functions of texts, concepts and relations described" in found(chart.to_dict(), "title")
    lines = {row["line"] for row in drawn(find_charts.budget_lines(table)) if "line" in row}
    assert lines == {"string: induction", "string: induction random"}
    with pytest.raises(InputError):
        find_charts.text_bars(table, 99)


def test_interpreters_are_named_and_frozen():
    assert replace(Induction(), name="other").name == "other"
    assert describe(program_of([["add", ["ing"]]])) == "adds ing"
