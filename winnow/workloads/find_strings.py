"""FIND's functions of texts: some fifty operations and compositions of two, as words, as code and as an evaluator.

S. Schwettmann et al., "FIND: A Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023,
Datasets and Benchmarks. A program is a list of steps, each the name of an operation and its arguments. Code and
evaluator of an operation are written apart, so that one checks the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

Step = tuple[str, tuple[Any, ...]]
Program = tuple[Step, ...]
LETTERS = "aeilnrst"
"""Those that may be arguments."""
WORDS = ("ab", "end", "ing", "pre", "xyz", "1", "!", "--")
COUNTS = (1, 2, 3)
VOWELS = "aeiouAEIOU"
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
OTHERS = "äöüéñ"
"""Letters beyond ASCII that inputs may hold."""
LONGEST, COMPOSED, PROBES = 12, 0.3, 40
"""Characters of an input at most; share of functions of two steps; texts by which functions are told apart."""
ARGUMENTS: dict[str, list[tuple[Any, ...]]] = {
    "": [()],
    "count": [(k,) for k in COUNTS],
    "letter": [(a,) for a in LETTERS],
    "pair": list(permutations(LETTERS, 2)),
    "word": [(word,) for word in WORDS],
}


class Operation(NamedTuple):
    """What it takes besides the text, what it does, the same as an expression of `x`, and in words with {0} and {1}."""

    takes: str
    means: Callable[..., str]
    code: str
    words: str


def _where(text: str, wanted: Callable[[str], bool]) -> str:
    return "".join(filter(wanted, text))


def _each(text: str, become: Callable[[str], str]) -> str:
    return "".join(map(become, text))


def _letter(text: str, letter: str, become: str) -> str:
    return _each(text, lambda c: become if c == letter else c) if letter in text else text


def _shifted(text: str, count: int) -> str:
    def become(c: str) -> str:
        for alphabet in (ALPHABET, ALPHABET.upper()):
            if c in alphabet:
                return alphabet[(alphabet.index(c) + count) % 26]
        return c

    return _each(text, become)


def _distinct(text: str) -> str:
    kept = ""
    for c in text:
        kept += c if c not in kept else ""
    return kept


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def _turned(text: str, count: int) -> str:
    for _ in range(count if text else 0):
        text = text[1:] + text[0]
    return text


def _at(text: str, place: int, added: str) -> str:
    parts = list(text)
    parts.insert(place, added)
    return "".join(parts)


def _first_replaced(text: str, old: str, new: str) -> str:
    before, found, after = text.partition(old)
    return before + (new if found else "") + after


H = "len(x) // 2"
SHIFT = (
    '"".join(chr((ord(c) - ord("a") + {0}) % 26 + ord("a")) if "a" <= c <= "z" else '
    'chr((ord(c) - ord("A") + {0}) % 26 + ord("A")) if "A" <= c <= "Z" else c for c in x)'
)
OPERATIONS: dict[str, Operation] = {
    "upper": Operation("", lambda x: _each(x, str.upper), "x.upper()", "puts all in capitals"),
    "lower": Operation("", lambda x: _each(x, str.lower), "x.lower()", "puts all in small letters"),
    "swap_case": Operation(
        "", lambda x: _each(x, lambda c: c.lower() if c.isupper() else c.upper()), "x.swapcase()", "swaps the case"
    ),
    "upper_first": Operation(
        "", lambda x: x[0].upper() + x[1:] if x else "", "x[:1].upper() + x[1:]", "makes the first letter a capital"
    ),
    "lower_first": Operation(
        "", lambda x: x[0].lower() + x[1:] if x else "", "x[:1].lower() + x[1:]", "makes the first letter small"
    ),
    "upper_last": Operation(
        "", lambda x: x[:-1] + x[-1].upper() if x else "", "x[:-1] + x[-1:].upper()", "makes the last letter a capital"
    ),
    "upper_vowels": Operation(
        "",
        lambda x: _each(x, lambda c: c.upper() if c in VOWELS else c),
        '"".join(c.upper() if c in "aeiou" else c for c in x)',
        "puts vowels in capitals",
    ),
    "reverse": Operation("", lambda x: "".join(reversed(x)), "x[::-1]", "reverses the text"),
    "reverse_first_half": Operation(
        "",
        lambda x: "".join(reversed(_halves(x)[0])) + _halves(x)[1],
        f"x[: {H}][::-1] + x[{H} :]",
        "reverses the first half",
    ),
    "reverse_last_half": Operation(
        "",
        lambda x: _halves(x)[0] + "".join(reversed(_halves(x)[1])),
        f"x[: {H}] + x[{H} :][::-1]",
        "reverses the last half",
    ),
    "swap_halves": Operation("", lambda x: _halves(x)[1] + _halves(x)[0], f"x[{H} :] + x[: {H}]", "swaps the halves"),
    "reverse_rest": Operation(
        "", lambda x: x[:1] + "".join(reversed(x[1:])), "x[:1] + x[1:][::-1]", "reverses all but the first letter"
    ),
    "reverse_start": Operation(
        "", lambda x: "".join(reversed(x[:-1])) + x[-1:], "x[:-1][::-1] + x[-1:]", "reverses all but the last letter"
    ),
    "digits": Operation(
        "", lambda x: _where(x, str.isdigit), '"".join(c for c in x if c in "0123456789")', "keeps the digits"
    ),
    "no_digits": Operation(
        "",
        lambda x: _where(x, lambda c: not c.isdigit()),
        '"".join(c for c in x if not c.isdigit())',
        "drops the digits",
    ),
    "capitals": Operation(
        "", lambda x: _where(x, str.isupper), '"".join(c for c in x if c.isupper())', "keeps capitals"
    ),
    "no_capitals": Operation(
        "", lambda x: _where(x, lambda c: not c.isupper()), '"".join(c for c in x if not c.isupper())', "drops capitals"
    ),
    "vowels": Operation(
        "",
        lambda x: _where(x, VOWELS.__contains__),
        '"".join(c for c in x if c.lower() in "aeiou")',
        "keeps the vowels",
    ),
    "no_vowels": Operation(
        "",
        lambda x: _where(x, lambda c: c not in VOWELS),
        '"".join(c for c in x if c.lower() not in "aeiou")',
        "drops the vowels",
    ),
    "vowels_to": Operation(
        "letter",
        lambda x, a: _each(x, lambda c: a if c in VOWELS else c),
        '"".join({0!r} if c.lower() in "aeiou" else c for c in x)',
        "puts {0} for every vowel",
    ),
    "double_vowels": Operation(
        "",
        lambda x: _each(x, lambda c: 2 * c if c in VOWELS else c),
        '"".join(c + c if c.lower() in "aeiou" else c for c in x)',
        "doubles the vowels",
    ),
    "double_all": Operation(
        "", lambda x: _each(x, lambda c: 2 * c), '"".join(c + c for c in x)', "doubles every letter"
    ),
    "double_first": Operation("", lambda x: x[:1] + x, "(x[0] if x else '') + x", "doubles the first letter"),
    "double_last": Operation("", lambda x: x + x[-1:], "x + (x[-1] if x else '')", "doubles the last letter"),
    "shift": Operation("count", _shifted, SHIFT, "moves letters on by {0} in the alphabet"),
    "add_length": Operation("", lambda x: f"{x}{len(x)}", "x + str(len(x))", "adds the number of letters"),
    "length_before": Operation("", lambda x: f"{len(x)}{x}", "str(len(x)) + x", "puts the number of letters before it"),
    "add_vowels": Operation(
        "",
        lambda x: x + str(len(_where(x, VOWELS.__contains__))),
        'x + str(sum(c.lower() in "aeiou" for c in x))',
        "adds the number of vowels",
    ),
    "add_digits": Operation(
        "",
        lambda x: x + str(len(_where(x, str.isdigit))),
        "x + str(sum(c.isdigit() for c in x))",
        "adds the number of digits",
    ),
    "add_capitals": Operation(
        "",
        lambda x: x + str(len(_where(x, str.isupper))),
        "x + str(sum(c.isupper() for c in x))",
        "adds the number of capitals",
    ),
    "add_first": Operation("", lambda x: x + x[:1], "x + (x[0] if x else '')", "adds the first letter"),
    "add_middle": Operation(
        "", lambda x: x + _halves(x)[1][:1], f"x + x[{H} : {H} + 1]", "adds the letter in the middle"
    ),
    "last_before": Operation("", lambda x: x[-1:] + x, "(x[-1] if x else '') + x", "puts the last letter before it"),
    "middle_before": Operation(
        "", lambda x: _halves(x)[1][:1] + x, f"x[{H} : {H} + 1] + x", "puts the letter in the middle before it"
    ),
    "twice": Operation("", lambda x: x + x, "x * 2", "says it twice"),
    "mirror": Operation("", lambda x: x + "".join(reversed(x)), "x + x[::-1]", "adds it reversed"),
    "first": Operation("count", lambda x, k: "".join(list(x)[:k]), "x[:{0}]", "keeps the first {0}"),
    "last": Operation("count", lambda x, k: "".join(list(x)[-k:]), "x[-{0} :]", "keeps the last {0}"),
    "without_first": Operation("count", lambda x, k: "".join(list(x)[k:]), "x[{0}:]", "drops the first {0}"),
    "without_last": Operation("count", lambda x, k: "".join(list(x)[:-k]), "x[:-{0}]", "drops the last {0}"),
    "even": Operation(
        "", lambda x: "".join(c for i, c in enumerate(x) if i % 2 == 0), "x[::2]", "keeps every second letter"
    ),
    "odd": Operation(
        "",
        lambda x: "".join(c for i, c in enumerate(x) if i % 2),
        "x[1::2]",
        "keeps every second letter from the second on",
    ),
    "between": Operation("letter", lambda x, a: a.join(x), "{0!r}.join(list(x))", "puts {0} between all letters"),
    "after_first": Operation(
        "letter", lambda x, a: _at(x, 1, a), "x[:1] + {0!r} + x[1:]", "puts {0} after the first letter"
    ),
    "before_last": Operation(
        "letter",
        lambda x, a: _at(x, max(len(x) - 1, 0), a),
        "x[:-1] + {0!r} + x[-1:]",
        "puts {0} before the last letter",
    ),
    "in_middle": Operation(
        "letter", lambda x, a: a.join(_halves(x)), f"x[: {H}] + {{0!r}} + x[{H} :]", "puts {0} in the middle"
    ),
    "around": Operation("letter", lambda x, a: f"{a}{x}{a}", "{0!r} + x + {0!r}", "puts {0} before and after it"),
    "add": Operation("word", lambda x, word: f"{x}{word}", "x + {0!r}", "adds {0}"),
    "before": Operation("word", lambda x, word: f"{word}{x}", "{0!r} + x", "puts {0} before it"),
    "replace": Operation(
        "pair",
        _letter,
        "x.replace({0!r}, {1!r})",
        "puts {1} for every {0}",
    ),
    "replace_first": Operation("pair", _first_replaced, "x.replace({0!r}, {1!r}, 1)", "puts {1} for the first {0}"),
    "remove": Operation("letter", lambda x, a: _letter(x, a, ""), 'x.replace({0!r}, "")', "drops every {0}"),
    "double": Operation(
        "letter",
        lambda x, a: _letter(x, a, 2 * a),
        "x.replace({0!r}, 2 * {0!r})",
        "doubles every {0}",
    ),
    "sort": Operation("", lambda x: "".join(sorted(x)), '"".join(sorted(list(x)))', "sorts the letters"),
    "distinct": Operation("", _distinct, '"".join(dict.fromkeys(x))', "keeps each letter once"),
    "turn": Operation(
        "count", _turned, "x[{0} % max(len(x), 1) :] + x[: {0} % max(len(x), 1)]", "moves the first {0} to the end"
    ),
    "turn_back": Operation(
        "count",
        lambda x, k: _turned(x, len(x) - k % len(x)) if x else "",
        "x[len(x) - {0} % max(len(x), 1) :] + x[: len(x) - {0} % max(len(x), 1)]",
        "moves the last {0} to the start",
    ),
}


@cache
def steps() -> tuple[Step, ...]:
    """Every step there is, operations in their order, with all of their arguments."""
    return tuple((name, given) for name, of in OPERATIONS.items() for given in ARGUMENTS[of.takes])


def apply(program: Program, text: str) -> str:
    """What a program makes of a text."""
    for name, given in program:
        text = OPERATIONS[name].means(text, *given)
    return text


def program_of(spec: list[Any]) -> Program:
    """The program that a record's `spec` holds as JSON."""
    return tuple((name, tuple(given)) for name, given in spec)


def source(program: Program) -> str:
    """A program as code of a function `f`."""
    lines = "".join(f"    x = {OPERATIONS[name].code.format(*given)}\n" for name, given in program)
    return f"def f(x):\n{lines}    return x\n"


def describe(program: Program) -> str:
    """A program in words."""
    return ", then ".join(OPERATIONS[name].words.format(*given) for name, given in program)


@cache
def _said() -> dict[str, Step]:
    return {describe((step,)): step for step in steps()}


def parse(description: str) -> Program | None:
    """The program that `describe` puts so; None for other words."""
    found = [_said().get(part) for part in description.split(", then ")]
    return None if None in found else tuple(step for step in found if step is not None)


def draw_texts(count: int, generator: np.random.Generator) -> list[str]:
    """Texts of small letters, capitals, digits and a few letters beyond ASCII; the first one is empty."""
    letters = np.array([*ALPHABET, *VOWELS[:5] * 3, *LETTERS * 2, *ALPHABET.upper(), *"0123456789", *OTHERS])
    sizes = generator.integers(1, LONGEST + 1, count)
    return ["" if i == 0 else "".join(generator.choice(letters, size)) for i, size in enumerate(sizes)]


def draw_program(composed: bool, generator: np.random.Generator) -> Program:
    """One step, operations being as likely as each other, or two that no one step makes up for."""
    probes = draw_texts(PROBES, generator)
    while True:
        program = tuple(_drawn_step(generator) for _ in range(1 + composed))
        answers = [apply(program, text) for text in probes]
        same = sum(a == b for a, b in zip(answers, probes, strict=True))
        if same > PROBES // 2 or len(set(answers)) < PROBES // 4:
            continue  # hardly anything is seen to happen, or hardly anything is left
        if not composed or not any([apply((step,), text) for text in probes] == answers for step in steps()):
            return program


def _drawn_step(generator: np.random.Generator) -> Step:
    name = str(generator.choice(list(OPERATIONS)))
    arguments = ARGUMENTS[OPERATIONS[name].takes]
    return name, arguments[int(generator.integers(len(arguments)))]
