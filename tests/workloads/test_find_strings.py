"""Operations as code in the sandbox beside their evaluator, and words that are read back."""

import codecs
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow import sandbox
from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads import find_strings as strings
from winnow.workloads.find_functions import BudgetExceeded, Function, library, string_functions

CHARACTERS = strings.ALPHABET + strings.ALPHABET.upper() + "0123456789" + strings.OTHERS
texts = st.text(CHARACTERS, max_size=12)
RECORDS = string_functions(80, 0)


def test_code_of_every_step_gives_what_the_evaluator_gives():
    drawn = strings.draw_texts(60, np.random.default_rng(1))
    outcomes = sandbox.run([sandbox.Case(strings.source((step,)), "f", drawn) for step in strings.steps()])
    for step, outcome in zip(strings.steps(), outcomes, strict=True):
        assert outcome.values == [strings.apply((step,), text) for text in drawn], step


@given(texts)
def test_the_evaluator_is_python_where_python_has_the_operation(x):
    def of(name, *given_):
        return strings.apply(((name, given_),), x)

    half = len(x) // 2
    assert (of("upper"), of("lower"), of("swap_case")) == (x.upper(), x.lower(), x.swapcase())
    assert of("shift", 3) == x.translate(str.maketrans("abcxyzABCXYZ", "defabcDEFABC")) or set(x) - set("abcxyzABCXYZ")
    rotated = strings.apply((("shift", (3,)),) * 2, of("shift", 1))
    assert strings.apply((("shift", (3,)),) * 2, rotated) == codecs.encode(x, "rot13")
    assert of("replace", "a", "e") == x.replace("a", "e") and of("replace_first", "a", "e") == x.replace("a", "e", 1)
    assert of("between", "n") == "n".join(x) and of("sort") == "".join(sorted(x))
    assert of("distinct") == "".join(sorted(set(x), key=x.index))
    assert of("turn", 2) == (x[2 % len(x) :] + x[: 2 % len(x)] if x else "")
    assert strings.apply((("turn_back", (2,)), ("turn", (2,))), x) == x
    assert of("swap_halves") == x[half:] + x[:half] and of("mirror") == x + x[::-1]
    assert sorted(of("even") + of("odd")) == sorted(x)
    assert of("digits") + of("no_digits") == "".join(sorted(x, key=lambda c: not c.isdigit()))
    assert of("add_length") == x + str(len(x))


def test_words_name_one_program_and_are_read_back():
    every = strings.steps()
    assert len({strings.describe((step,)) for step in every}) == len(every) > 200
    for first, second in zip(every, every[::-1], strict=True):
        assert strings.parse(strings.describe((first, second))) == (first, second)
    assert strings.parse("does something else") is None and strings.parse("") is None


def test_texts_are_empty_first_and_short():
    drawn = strings.draw_texts(300, np.random.default_rng(0))
    assert drawn[0] == "" and {len(text) for text in drawn[1:]} == set(range(1, 13))
    assert set("".join(drawn)) == set(CHARACTERS)


def test_programs_do_something_and_two_steps_are_not_one():
    probes = strings.draw_texts(300, np.random.default_rng(5))
    for i in range(15):
        program = strings.draw_program(i % 2 == 1, np.random.default_rng(i))
        answers = [strings.apply(program, text) for text in probes]
        assert len(program) == 1 + i % 2
        assert np.mean([a == b for a, b in zip(answers, probes, strict=True)]) < 0.7 and len(set(answers)) > 10
        if i % 2:
            assert not any([strings.apply((step,), text) for text in probes] == answers for step in strings.steps())


def test_records_are_of_the_seed_and_three_in_ten_of_two_steps():
    assert string_functions(80, 0) == RECORDS and string_functions(3, 1) != RECORDS[:3]
    assert string_functions(3, 0) == RECORDS[:3]
    assert np.mean([r["composed"] for r in RECORDS]) == pytest.approx(0.3, abs=5 * (0.21 / 80) ** 0.5)
    assert library(RECORDS).num_rows == 80
    for record in RECORDS[:10]:
        program = strings.program_of(json.loads(record["spec"]))
        assert record["description"] == strings.describe(program) and record["code"] == strings.source(program)
        assert record["family"] == " ".join(name for name, _ in program)
    with pytest.raises(InputError, match="find_benchmark.strings: 0 functions; ask for 1 at least"):
        string_functions(0, 0)


def test_queries_are_counted_and_the_order_changes_nothing():
    record, drawn = RECORDS[0], strings.draw_texts(6, numpy_generator(0, "t"))
    function = Function(record, 0, 8)
    answers = function.query(drawn)
    assert function.left == 2 and Function(record, 1, 8).query(drawn[::-1]) == answers[::-1]
    with pytest.raises(BudgetExceeded, match="3 inputs are asked, 2 of 8 are left"):
        function.query(drawn[:3])
    assert function.left == 2
