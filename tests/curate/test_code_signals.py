"""Each threshold drops what lies beyond it, and signals have the values of their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curate.source_files import BAD, GOOD
from winnow.curate.code_signals import BY_CHANCE, THRESHOLDS, decide, signals


def test_a_plain_module_passes_and_has_every_signal():
    found = signals(GOOD)
    assert found.keys() == THRESHOLDS.keys()
    assert decide(found, THRESHOLDS, GOOD.encode()) == (True, ())


@pytest.mark.parametrize("name", BAD)
def test_what_is_written_against_a_threshold_fails_it(name):
    value, (low, high) = signals(BAD[name])[name], THRESHOLDS[name]
    assert (low is not None and value < low) or (high is not None and value > high)


def test_every_threshold_but_that_of_bytes_has_such_a_text():
    assert set(BAD) == set(THRESHOLDS) - {"bytes"}
    assert signals("é")["bytes"] == 2


@pytest.mark.parametrize("name", THRESHOLDS)
def test_limits_themselves_pass_and_what_lies_beyond_does_not(name):
    low, high = THRESHOLDS[name]
    key = next(b"%d" % i for i in range(100) if not decide({name: 9e9}, {name: (None, 0)}, b"%d" % i).keep)
    for limit, step in ((low, -1e-6), (high, 1e-6)):
        if limit is not None:
            assert decide({name: limit}, {name: (low, high)}, key) == (True, ())
            assert decide({name: limit + step}, {name: (low, high)}, key) == (False, (name,))


def test_signals_have_the_values_of_their_definitions():
    text = '# note\nimport os\n\ndef f(a):\n    return "xy" + a\n\n\nassert f("b")\nprint(1)\n'
    found = signals(text)
    lines = ["# note", "import os", "", "def f(a):", '    return "xy" + a', "", "", 'assert f("b")', "print(1)"]
    words = ["note", "import", "os", "def", "f", "a", "return", "xy", "a", "assert", "f", "b", "print", "1"]
    letters = sum(map(len, words))
    expected = {
        "words": 14,
        "characters": len(text),
        "lines": 9,
        "longest_line": 19,
        "mean_line": sum(map(len, lines)) / 9,
        "mean_word": letters / 14,
        "letters": (letters - 1) / sum(not c.isspace() for c in text),
        "digits": 1 / len(text),
        "white_space": sum(c.isspace() for c in text) / len(text),
        "comments": 6 / len(text),
        "strings": 7 / len(text),
        "assert_lines": 1 / 9,
        "def_lines": 1 / 6,
        "import_lines": 1 / 6,
        "print_lines": 1 / 6,
        "lines_without_logic": 1 / 5,
        "one_line_functions": 0,
        "top_2_gram": 0,
        "unparsed": 0,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


def test_shares_of_repeated_runs_are_of_the_characters_they_cover():
    words = [f"w{i:02}" for i in range(10)]
    found = signals(" ".join(words + words[:6]))
    # Of 16 words of equal length the last six come again, in two runs of five.
    assert found["repeated_5_grams"] == pytest.approx(6 / 16) and found["repeated_7_grams"] == 0
    assert found["top_2_gram"] == pytest.approx(2 * 6 / 48)
    assert found["top_4_gram"] == pytest.approx(2 * 12 / 48)


def test_a_signal_that_drops_by_chance_does_so_by_content():
    (name,) = BY_CHANCE
    found = [decide({name: 1.0}, {name: (None, 0.5)}, b"%d" % i).keep for i in range(2000)]
    assert np.mean(found) == pytest.approx(1 - BY_CHANCE[name], abs=0.03)
    assert found == [decide({name: 1.0}, {name: (None, 0.5)}, b"%d" % i).keep for i in range(2000)]


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=200))
def test_any_text_has_signals(text):
    found = signals(text)
    assert found.keys() == THRESHOLDS.keys() and all(np.isfinite(list(found.values())))
