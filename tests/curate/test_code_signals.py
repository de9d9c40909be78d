"""Each threshold drops what lies beyond it, and signals have the values of their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curate.source_files import BAD, GOOD
from winnow.curate import code_signals
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
        "lines_without_logic": 3 / 5,
        "return_functions": 1 / 5,
        "top_2_gram": 0,
        "unparsed": 0,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


def test_shares_of_repeated_runs_are_of_the_characters_they_cover():
    words = [f"w{i:02}" for i in range(10)]
    found = signals(" ".join(words + words[:6]))
    # Of 16 words of equal length the last six come again, in two runs of five.
    assert found["repeated_5_grams"] == pytest.approx(6 / 16) == found["repeated_6_grams"]
    assert signals(" ".join(words + words[:5]))["repeated_6_grams"] == 0
    assert found["top_2_gram"] == pytest.approx(2 * 6 / 48)
    assert found["top_4_gram"] == pytest.approx(2 * 12 / 48)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(5, 9))
def test_longer_runs_that_come_again_cover_no_more(words, n):
    assert code_signals._repeated(words, n + 1) <= code_signals._repeated(words, n)


def test_whole_limits_are_the_published_ones():
    told = {name: limits for name, limits in THRESHOLDS.items() if any(limit and limit >= 2 for limit in limits)}
    assert told == {
        "words": (30, None),
        "characters": (50, None),
        "lines": (10, 100_000),
        "bytes": (None, 3_000_000),
        "longest_line": (None, 1000),
        "mean_line": (5, 100),
        "mean_word": (2, 10),
    }


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("", "lines", 1),
        ("", "mean_word", 0),
        ("", "letters", 0),
        ("", "digits", 0),
        ("", "top_2_gram", 0),
        ("", "repeated_5_grams", 0),
        ("", "comments", 0),
        ("", "def_lines", 0),
        ("", "lines_without_logic", 0),
        ("", "unparsed", 0),
        ("", "return_functions", 0),
        ("", "without_variable", 1),
        ("a\n  a\n\nb\n", "repeated_lines", 1 / 3),
        ("ab\ufffdc", "replacement_characters", 1 / 4),
        ("deadbeef12 0xdeadbeef1 abcdefab 1234567 x", "hex_words", 2 / 5),
        ("a" * 30, "long_words", 0),
        ("b " + "a" * 31, "long_words", 31 / 32),
        ("a b a b c", "top_2_gram", 4 / 5),
        ("a b c", "top_2_gram", 0),
        ("a b c a b c", "top_3_gram", 1),
        ("a b c d e a b c d e", "repeated_5_grams", 1 / 2),
        ("a b c d e f g h i j " * 2, "repeated_10_grams", 1 / 2),
        ('x = 1\ny = """\n' + "a" * 100 + '\n"""\n', "long_string_lines", 0),
        ('x = 1\ny = """\n' + "a" * 101 + "\n" + "b" * 101 + '\n"""\n', "long_string_lines", 2 / 5),
        ("# your code\nx = 1\n# insert it here\ny = 2\n", "prompt_comments", 2 / 4),
        (" \n<?xml version='1.0'?>", "xml_start", 1),
        ("x = '<?xml'", "xml_start", 0),
        ("# Generated by hand\n", "generated", 1),
        ("x = 1\n" * 333 + "\n# do not edit\n", "generated", 1),
        ("x = 1\n" * 333 + "\n\n# do not edit\n", "generated", 0),
        ("x = 'do not edit'\n", "generated", 0),
        ("'" + "A" * 1000 + "'", "encoded_data", 1),
        ("'" + "A" * 999 + "'", "encoded_data", 0),
        # A function of one line that does something is none that only returns; one that is told about does more.
        ("def f(): pass\n\n\nasync def g():\n    pass\n", "return_functions", 0),
        ("def f(): return 1\n\n\nasync def g():\n    return 2\n", "return_functions", 2 / 3),
        ('def f():\n    """What."""\n    return 1\n', "return_functions", 0),
        ("# note\ndef f(x):\n    return (\n        1\n    )\n", "return_functions", 1 / 4),
        ("def f(x):\n    def g():\n        return x\n    return g\n", "return_functions", 1 / 4),
        ("def f(): pass\n\n\nasync def g():\n    pass\n", "def_lines", 2 / 3),
        ("def f(): pass\n\n\nasync def g():\n    pass\n", "pass_lines", 1 / 3),
        ("from a import b\nimport c\nfromage = 1\n", "import_lines", 2 / 3),
        ("print(1)\nx.y\n", "without_variable", 1),
        ("x = 1\n", "without_variable", 0),
        ("lambda a: 1\n", "without_variable", 0),
        ("# note\nx = 1\ny = x + 1\n", "lines_without_logic", 0),
        ('"""a\nb + c\nd\n"""\nimport x\nif x:\n    y\n', "lines_without_logic", 1 / 3),
        ("class A:\n    x = y = 1\n    z: int = 2\n    w.v = 3\n", "lines_without_logic", 4 / 4),
        ("class A:\n    def f(self):\n        self.x = 1\n        return self.x\n", "lines_without_logic", 3 / 4),
        ("returned = 1\nif returned:\n    importing = 2\n", "lines_without_logic", 0),
        ("def (", "unparsed", 1),
        ("def (", "return_functions", 0),
        ("def (", "lines_without_logic", 0),
        ("def (", "without_variable", 0),
        ("1", "digits", 1),
        (" ", "white_space", 1),
        ("\ufffd", "replacement_characters", 1),
        ("#", "comments", 1),
        # A string of many lines is code, unless it is documentation.
        ('import z\nx = """a\nb\n"""\n', "lines_without_logic", 1 / 4),
        ('def f():\n    """a\n\n    b"""\n\n\nclass A: "c"\n', "lines_without_logic", 2 / 2),
    ],
)
def test_each_signal_is_what_one_counts_by_hand(text, name, value):
    assert signals(text)[name] == pytest.approx(value)


def test_other_signals_drop_whatever_the_content():
    found = [decide({"words": 1.0}, {"words": (30, None)}, b"%d" % i) for i in range(200)]
    assert set(found) == {(False, ("words",))}


def test_a_signal_that_drops_by_chance_does_so_by_content():
    (name,) = BY_CHANCE
    found = [decide({name: 1.0}, {name: (None, 0.5)}, b"%d" % i).keep for i in range(2000)]
    assert np.mean(found) == pytest.approx(1 - BY_CHANCE[name], abs=0.03)
    assert found == [decide({name: 1.0}, {name: (None, 0.5)}, b"%d" % i).keep for i in range(2000)]


def test_of_other_languages_the_signals_of_text_alone_are_held_against_limits():
    found = signals(GOOD, "go")
    assert {"words", "top_2_gram", "repeated_lines"} < found.keys() and not {"comments", "unparsed"} & found.keys()
    assert all(found[name] == signals(GOOD)[name] for name in found)
    assert decide(found, THRESHOLDS, b"") == (True, ())
    assert decide(found | {"comments": None, "words": 1.0}, THRESHOLDS, b"") == (False, ("words",))


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=200))
def test_any_text_has_signals(text):
    found = signals(text)
    assert found.keys() == THRESHOLDS.keys() and all(np.isfinite(list(found.values())))
