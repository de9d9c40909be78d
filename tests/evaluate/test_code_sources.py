"""What is trained on: programs that run, and pairs that say what their function says."""

import numpy as np
import pytest

from winnow.curate.byte_pairs import train_byte_pairs
from winnow.curate.code_exercises import unseen
from winnow.curate.code_functions import functions_of
from winnow.errors import InputError
from winnow.evaluate import code_sources

SOURCE = '''import math

def find_root(x, digits=2):
    """Find the root.

    >>> find_root(4)
    2.0
    """
    return round(math.sqrt(x), digits)

def helper(x):
    return own(x)

def told(x):
    """Say it
    at length."""
    return x
'''
FUNCTIONS = functions_of(SOURCE)
MADE = code_sources.made(60, 0.3, 8, 0.3, seed=1)
TOKENIZER = train_byte_pairs([SOURCE] * 5, 300)


def test_the_judged_are_of_compositions_that_nothing_learns_from_and_right():
    assert len(MADE.learned) == 60 == len(MADE.outcomes) and len(MADE.judged) == 8
    assert all(unseen(e, 0.3) for e in MADE.judged) and not any(unseen(e, 0.3) for e in MADE.learned)
    assert not any(e.fault for e in MADE.judged)
    assert code_sources.made(60, 0.3, 8, 0.3, seed=2).judged == MADE.judged
    assert all(e in MADE.learned for e in MADE.verified) and 30 < len(MADE.verified) < 60


def test_a_share_that_leaves_too_few_is_refused():
    with pytest.raises(InputError, match="unseen: 0 of 64 exercises are on its side, not 2; give another share"):
        code_sources.made(2, 0.0, 2, 1.0, seed=0)


def test_soundness_counts_what_verification_stops_and_keeps():
    found = code_sources.soundness(MADE, 0)
    faulty = [o for e, o in zip(MADE.learned, MADE.outcomes, strict=True) if e.fault]
    assert found["stopped"] == pytest.approx(1 - faulty.count("passed") / len(faulty))
    assert found["kept"] == 1.0 and 0.9 <= found["agree"] <= 1
    none = code_sources.made(12, 0.0, 2, 0.3, seed=1)
    assert code_sources.soundness(none, 0) == {"stopped": 1.0, "kept": 1.0, "agree": 1.0}


def test_snippets_are_programs_whose_assertions_hold():
    for exercise in MADE.verified[:20]:
        text = code_sources.snippet(exercise)
        assert text.count("assert ") == 3
        exec(text, {})


def test_functions_become_algorithms_textbooks_and_questions():
    assert code_sources.algorithms(FUNCTIONS) == ["import math\n" + FUNCTIONS[0].text]
    pages = code_sources.textbooks(FUNCTIONS)
    assert len(pages) == 2 and "# Find the root." in pages[0] and "# Say it at length." in pages[1]
    asked = code_sources.broad_questions(FUNCTIONS, "roots")
    assert asked[:3] == [
        ("What does find_root of roots do?", "Find the root."),
        ("Which arguments does find_root of roots take?", "x, digits"),
        ("Which function of roots is this: Find the root.", "find_root"),
    ]
    assert len(asked) == 6 and ("What does told of roots do?", "Say it at length.") in asked
    assert code_sources.code_tasks(FUNCTIONS, "roots") == [
        ("Write find_root(x, digits): Find the root.", FUNCTIONS[0].text),
        ("Use find_root of roots: Find the root.", "find_root(4)\n"),
        ("Write told(x): Say it at length.", FUNCTIONS[2].text),
    ]


def test_examples_that_cannot_be_read_are_left_out():
    (function,) = functions_of('def f(x):\n    """Do.\n\n    >>> f(1)\n   2\n    """\n    return x\n')
    assert [task for task, _ in code_sources.code_tasks([function], "p")] == ["Write f(x): Do."]


def test_pairs_are_the_tokens_of_prompt_and_answer():
    ((prompt, body),) = code_sources.bodies(FUNCTIONS[:1], TOKENIZER)
    assert TOKENIZER.decode(prompt.tolist()) == FUNCTIONS[0].prompt
    assert TOKENIZER.decode(body.tolist()) == FUNCTIONS[0].body
    ((prompt, answer),) = code_sources.instructed([("Do it", "done")], TOKENIZER)
    assert TOKENIZER.decode(prompt.tolist()) == "### Instruction\nDo it\n### Response\n"
    assert TOKENIZER.decode(answer.tolist()) == "done" and answer.dtype == np.int64


def test_what_solves_an_exercise_passes_as_a_body_or_whole():
    judged = MADE.judged
    assert code_sources.pass_rate(judged, [e.body for e in judged], whole=False) == 1.0
    assert code_sources.pass_rate(judged, [e.text for e in judged], whole=True) == 1.0
    assert code_sources.pass_rate(judged, [e.body for e in judged], whole=True) == 0.0
    half = [e.body if i % 2 else "    return None" for i, e in enumerate(judged)]
    assert code_sources.pass_rate(judged, half, whole=False) == 0.5
