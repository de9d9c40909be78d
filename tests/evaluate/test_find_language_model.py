"""A model that says what it is told to: its questions are asked within the budget, its answers are read and scored."""

import numpy as np
import pytest

from winnow.evaluate import find_study
from winnow.evaluate.find_benchmark import interpret, scored
from winnow.evaluate.find_discrete import unit_test
from winnow.evaluate.find_language_model import ROUNDS, Judge, LanguageModelInterpreter, described, questions
from winnow.models.language_model import Sample
from winnow.pipeline.settings.find_benchmark import FindBenchmark
from winnow.randomness import numpy_generator
from winnow.workloads.find_concepts import shown_words
from winnow.workloads.find_functions import entity_functions, evaluator, numeric_record, string_functions

LINEAR = numeric_record("numeric0000", ["linear", 2.0, 1.0], "clean", numpy_generator(0, "r"))
TEXTS = string_functions(4, 0)
RIGHT = " doubles and adds one\n[DOMAIN] null\n[CODE]\ndef f(x):\n    return 2 * x + 1\n"


class Scripted:
    """Says one text after another, the last again and again; `seen` are the prompts."""

    def __init__(self, *texts):
        self.texts, self.seen, self.seeds = list(texts), [], []

    def encode(self, text):
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def sample(self, prompts, n, max_tokens, temperature, stop, seed):
        self.seen.append(bytes(prompts[0].astype(np.uint8)).decode())
        self.seeds.append(seed)
        assert (n, temperature) == (1, 0.0) and "[END]" in stop
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        return [[Sample(text, np.zeros(0, np.int64), np.zeros(0), "stop", seed)]]


def test_questions_are_asked_and_what_is_said_at_last_is_the_description():
    model = Scripted("[QUERY] [1, 2.5, true]\n", "[QUERY] [0]", f"[DESCRIPTION]{RIGHT}")
    said, calls = interpret(LINEAR, LanguageModelInterpreter(model), 64, 0)
    assert calls == 8 + 2 + 1 and len(model.seen) == 3 == len(set(model.seeds))
    assert "f(1.0) = 3" in model.seen[1] and "f(2.5) = 6" in model.seen[1] and "f(0.0) = 1" in model.seen[2]
    assert model.seen[0].count("f(") == 8 + 1 and "a function from numbers to numbers" in model.seen[0]
    assert said.description == "doubles and adds one" and said.domain is None
    (row,) = scored(
        [LINEAR], [(LanguageModelInterpreter(Scripted(f"[DESCRIPTION]{RIGHT}")), 64)], 64, 0, lambda a, b: None
    )
    assert row["success"] and row["nmse"] == 0 and row["interpreter"] == "language_model"


def test_the_budget_is_kept_and_the_last_round_describes():
    endless = Scripted("[QUERY] [" + ", ".join(map(str, range(40))) + "]")
    _, calls = interpret(LINEAR, LanguageModelInterpreter(endless), 30, 0)
    assert calls == 30 and len(endless.seen) == 3  # after 8, 24 and 30 answers; then nothing is left
    assert endless.seen[-1].endswith("Describe it now.\n[DESCRIPTION]")
    patient = Scripted("[QUERY] [1]")
    _, calls = interpret(LINEAR, LanguageModelInterpreter(patient), 64, 0)
    assert calls == 8 + ROUNDS - 1 and len(patient.seen) == ROUNDS


def test_a_single_round_shows_all_answers_and_asks_nothing():
    model = Scripted(RIGHT)
    said, calls = interpret(LINEAR, LanguageModelInterpreter(model, rounds=1), 16, 0)
    assert calls == 16 and len(model.seen) == 1 and model.seen[0].count(" = ") == 16
    assert said.code == "def f(x):\n    return 2 * x + 1\n"


def test_texts_are_shown_as_json_and_asked_as_texts():
    model = Scripted('[QUERY] ["äb", 3, ""]', "[DESCRIPTION] adds x\n[CODE]\ndef f(x):\n    return x\n")
    said, calls = interpret(TEXTS[0], LanguageModelInterpreter(model), 64, 0)
    first, other = (Scripted("[DESCRIPTION] x") for _ in range(2))
    interpret(TEXTS[0], LanguageModelInterpreter(first), 64, 0)
    interpret(TEXTS[1], LanguageModelInterpreter(other), 64, 0)
    assert first.seeds != other.seeds
    assert all(line.startswith("f(") for line in model.seen[1].split("[ANSWER]\n")[1].splitlines()[:8])
    assert calls == 8 + 2 and 'f("\\u00e4b") = ' in model.seen[1] and "a function from texts to texts" in model.seen[0]
    rows = scored(
        TEXTS, [(LanguageModelInterpreter(Scripted("nothing that can be read")), 16)], 16, 0, lambda a, b: None
    )
    assert not any(row["success"] for row in rows) and all(row["reason"] for row in rows)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("[QUERY] [1, 2]", [1.0, 2.0]),
        ("I think.\n[QUERY] [1e999, -3]\n", [-3.0]),
        ("[QUERY] 1, 2", []),
        ("[QUERY] [1, ", []),
        ("[QUERY] [1,, 2]", []),
        ("[DESCRIPTION] x\n[QUERY] [1]", []),
        ("", []),
    ],
)
def test_questions_that_cannot_be_read_are_none(told, expected):
    assert questions(told, "numeric") == expected


def test_descriptions_are_read_with_fences_and_stretches():
    told = "[DESCRIPTION] a line,\n but flat\n[DOMAIN] [3, 7.5]\n[CODE]\n```python\ndef f(x):\n    return x\n```\n"
    said = described(told)
    assert said.description == "a line, but flat" and said.domain == (3.0, 7.5)
    assert said.code == "def f(x):\n    return x\n"
    for domain in ("[7, 3]", "[3, 3]", "[a, b]", "[1, 2, 3]", "none", "[None, 2]"):
        assert described(f"[DESCRIPTION] x\n[DOMAIN] {domain}\n[CODE]\n").domain is None
    assert described("nothing") == ("", "\n", None, 0.0)


def test_a_model_is_three_more_arms():
    model = Scripted(RIGHT)
    more = find_study.arms([16], 16, model)[len(find_study.arms([16], 16)) :]
    assert [(i.name, i.rounds, budget) for i, budget in more] == [
        ("language_model", ROUNDS, 16),
        ("language_model_once", 1, 16),
        ("language_model_exemplars", ROUNDS, 16),
    ]
    assert [i.exemplars for i, _ in more] == [False, False, True] and more[2][0].kinds == ("entity",)


def test_exemplars_are_the_shown_words_that_the_neuron_answers_to_most():
    (record,) = entity_functions(1, 0)
    of = evaluator(record)
    model = Scripted(f"[DESCRIPTION]{RIGHT}")
    _, calls = interpret(record, LanguageModelInterpreter(model, exemplars=True), 64, 0)
    told = [line for line in model.seen[0].split("\n") if line.startswith('f("')]
    words = [line.split('"')[1] for line in told]
    strongest = sorted(map(of, shown_words(True)), reverse=True)[:8]
    assert calls == 8 == len(set(words)) and set(words) <= set(shown_words(True))
    assert list(map(of, words)) == strongest


def test_words_are_shown_with_numbers():
    (record,) = entity_functions(1, 0)
    model = Scripted('[QUERY] ["oak", "chair"]', "[DESCRIPTION] answers to trees\n[CODE]\ndef f(x):\n    return 0.0\n")
    _, calls = interpret(record, LanguageModelInterpreter(model), 64, 0)
    assert calls == 8 + 2 and 'f("oak") = ' in model.seen[1] and "from words to how near" in model.seen[0]


def test_a_judge_reads_words_that_the_parser_cannot_and_sees_no_more_than_words_and_answers():
    judged = [record for record in TEXTS if unit_test(record, None, TEXTS, 0) is not None]
    for record in judged:
        right = [unit_test(record, None, TEXTS, 0, lambda inputs, options, n=n: n) for n in range(3)]
        assert sorted(right) == [False, False, True]
        assert right[0] == unit_test(record, None, TEXTS, 0) == unit_test(record, None, TEXTS, 0, lambda *_: None)
        model = Scripted(f" {right.index(True) + 1}.")
        words = LanguageModelInterpreter(Scripted("[DESCRIPTION] turns things about\n[CODE]\ndef f(x): return x\n"))
        (row,) = scored([record], [(words, 64)], 64, 0, lambda a, b: None, Judge(model))
        assert row["unit_test"] is None  # one function alone has no others
        rows = scored(TEXTS, [(words, 64)], 64, 0, lambda a, b: None, Judge(model))
        assert next(r for r in rows if r["function_id"] == record["function_id"])["unit_test"]
        assert all("described so: turns things about\n" in text for text in model.seen)
        assert "3. f(" in model.seen[0]


@pytest.mark.parametrize("said", ["none", "", " 4", "0"])
def test_a_judge_that_names_no_line_has_chosen_none(said):
    assert Judge(Scripted(said))("words", ["a"], [["b"], ["c"], ["d"]]) is None


def test_a_model_does_not_judge_its_own_words():
    one, other = ({"url": "http://h/v1", "model": name} for name in ("m", "n"))
    assert FindBenchmark(endpoint=one, judge=other).judge.model == "n"
    with pytest.raises(ValueError, match="judge is m, which interprets already; name another model"):
        FindBenchmark(endpoint=one, judge=one)
