"""The steps of which exercises are made: what each says, what it means, how it can be written, and written wrongly.

In code, {x} is what a step is given, {y} what it makes, {k} its number. The meaning is a function of its own, so that
code and tests come from two sources.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, NamedTuple


class Step(NamedTuple):
    """A step from a kind of value to a kind of value; `makes` names what comes out of it."""

    takes: str
    gives: str
    makes: str
    says: str
    means: Callable[[Any, int], Any]
    codes: tuple[str, ...]
    wrong: str


def _each(expression: str) -> tuple[str, ...]:
    loop = f"{{y}} = []\nfor item in {{x}}:\n    {{y}}.append({expression})"
    return f"{{y}} = [{expression} for item in {{x}}]", loop


def _keep(test: str) -> tuple[str, ...]:
    loop = f"{{y}} = []\nfor item in {{x}}:\n    if {test}:\n        {{y}}.append(item)"
    return f"{{y}} = [item for item in {{x}} if {test}]", loop


def _sum(expression: str, test: str = "") -> tuple[str, ...]:
    condition = f" if {test}" if test else ""
    body = f"    if {test}:\n        {{y}} += {expression}" if test else f"    {{y}} += {expression}"
    return f"{{y}} = sum({expression} for item in {{x}}{condition})", f"{{y}} = 0\nfor item in {{x}}:\n{body}"


DISTINCT = (
    "{y} = []\nfor item in {x}:\n    if item not in {y}:\n        {y}.append(item)",
    "{y} = list(dict.fromkeys({x}))",
)
VOWELS = "aeiou"

STEPS: dict[str, Step] = {
    "above": Step(
        "numbers",
        "numbers",
        "kept",
        "keep those above {k}",
        lambda v, k: [i for i in v if i > k],
        _keep("item > {k}"),
        "{y} = [item for item in {x} if item >= {k}]",
    ),
    "multiples": Step(
        "numbers",
        "numbers",
        "kept",
        "drop multiples of {k}",
        lambda v, k: [i for i in v if i % k],
        _keep("item % {k} != 0"),
        "{y} = [item for item in {x} if item % {k} == 0]",
    ),
    "squares": Step(
        "numbers",
        "numbers",
        "squares",
        "square each",
        lambda v, k: [i**2 for i in v],
        _each("item * item"),
        "{y} = [item + item for item in {x}]",
    ),
    "plus": Step(
        "numbers",
        "numbers",
        "moved",
        "add {k} to each",
        lambda v, k: [i + k for i in v],
        _each("item + {k}"),
        "{y} = [item - {k} for item in {x}]",
    ),
    "times": Step(
        "numbers",
        "numbers",
        "scaled",
        "multiply each by {k}",
        lambda v, k: [k * i for i in v],
        _each("item * {k}"),
        "{y} = [item * ({k} + 1) for item in {x}]",
    ),
    "ordered": Step(
        "numbers",
        "numbers",
        "ordered",
        "put them in order, the least first",
        lambda v, k: sorted(v),
        ("{y} = sorted({x})", "{y} = list({x})\n{y}.sort()"),
        "{y} = sorted({x}, reverse=True)",
    ),
    "turned": Step(
        "numbers",
        "numbers",
        "turned",
        "turn their order around",
        lambda v, k: list(reversed(v)),
        ("{y} = {x}[::-1]", "{y} = list(reversed({x}))", "{y} = []\nfor item in {x}:\n    {y}.insert(0, item)"),
        "{y} = sorted({x})",
    ),
    "distinct": Step(
        "numbers",
        "numbers",
        "distinct",
        "keep the first of equal ones",
        lambda v, k: sorted(set(v), key=v.index),
        DISTINCT,
        "{y} = sorted(set({x}))",
    ),
    "steps": Step(
        "numbers",
        "numbers",
        "steps",
        "take the differences of neighbours",
        lambda v, k: [b - a for a, b in pairwise(v)],
        ("{y} = [{x}[i + 1] - {x}[i] for i in range(len({x}) - 1)]", "{y} = [b - a for a, b in zip({x}, {x}[1:])]"),
        "{y} = [a - b for a, b in zip({x}, {x}[1:])]",
    ),
    "running": Step(
        "numbers",
        "numbers",
        "sums",
        "take running sums",
        lambda v, k: list(accumulate(v)),
        (
            "{y} = []\ntotal = 0\nfor item in {x}:\n    total += item\n    {y}.append(total)",
            "{y} = [sum({x}[: i + 1]) for i in range(len({x}))]",
        ),
        "{y} = [sum({x}[:i]) for i in range(len({x}))]",
    ),
    "first": Step(
        "numbers",
        "numbers",
        "start",
        "keep the first {k}",
        lambda v, k: v[:k],
        ("{y} = {x}[:{k}]", "{y} = [item for i, item in enumerate({x}) if i < {k}]"),
        "{y} = {x}[{k}:]",
    ),
    "capped": Step(
        "numbers",
        "numbers",
        "capped",
        "replace those above {k} by {k}",
        lambda v, k: [k if i > k else i for i in v],
        _each("min(item, {k})"),
        "{y} = [max(item, {k}) for item in {x}]",
    ),
    "total": Step(
        "numbers",
        "number",
        "total",
        "add them up",
        lambda v, k: sum(v),
        ("{y} = sum({x})", "{y} = 0\nfor item in {x}:\n    {y} += item"),
        "{y} = sum({x}[1:])",
    ),
    "number": Step(
        "numbers",
        "number",
        "count",
        "count them",
        lambda v, k: len(v),
        ("{y} = len({x})", "{y} = 0\nfor item in {x}:\n    {y} += 1"),
        "{y} = len({x}) - 1",
    ),
    "largest": Step(
        "numbers",
        "number",
        "largest",
        "take the largest, or 0 where there is none",
        lambda v, k: max(v, default=0),
        ("{y} = max({x}) if {x} else 0", "{y} = sorted({x})[-1] if {x} else 0"),
        "{y} = max({x})",
    ),
    "evens": Step(
        "numbers",
        "number",
        "evens",
        "count the even ones",
        lambda v, k: len([i for i in v if not i % 2]),
        _sum("1", "item % 2 == 0"),
        "{y} = sum(1 for item in {x} if item % 2)",
    ),
    "vowelless": Step(
        "text",
        "text",
        "rest",
        "leave out its vowels",
        lambda v, k: "".join(c for c in v if c not in VOWELS),
        (
            '{y} = "".join(c for c in {x} if c not in "aeiou")',
            '{y} = ""\nfor c in {x}:\n    if c not in "aeiou":\n        {y} += c',
        ),
        '{y} = "".join(c for c in {x} if c in "aeiou")',
    ),
    "backwards": Step(
        "text",
        "text",
        "turned",
        "write it backwards",
        lambda v, k: "".join(reversed(v)),
        ("{y} = {x}[::-1]", '{y} = ""\nfor c in {x}:\n    {y} = c + {y}'),
        "{y} = {x}[::1]",
    ),
    "capitals": Step(
        "text",
        "text",
        "loud",
        "write it in capitals",
        lambda v, k: v.upper(),
        ("{y} = {x}.upper()", '{y} = "".join(c.upper() for c in {x})'),
        "{y} = {x}.title()",
    ),
    "doubled": Step(
        "text",
        "text",
        "doubled",
        "write every letter twice",
        lambda v, k: "".join(2 * c for c in v),
        ('{y} = "".join(c + c for c in {x})', '{y} = ""\nfor c in {x}:\n    {y} += c * 2'),
        "{y} = {x} + {x}",
    ),
    "vowels": Step(
        "text",
        "number",
        "vowels",
        "count its vowels",
        lambda v, k: sum(map(v.count, VOWELS)),
        ('{y} = sum(1 for c in {x} if c in "aeiou")', '{y} = 0\nfor c in {x}:\n    if c in "aeiou":\n        {y} += 1'),
        '{y} = sum(1 for c in {x} if c not in "aeiou")',
    ),
    "parts": Step(
        "text",
        "words",
        "parts",
        "split it at underscores",
        lambda v, k: v.split("_"),
        ('{y} = {x}.split("_")', '{y} = [part for part in {x}.split("_")]'),
        "{y} = {x}.split()",
    ),
    "longer": Step(
        "words",
        "words",
        "kept",
        "keep those longer than {k} letters",
        lambda v, k: [w for w in v if len(w) > k],
        _keep("len(item) > {k}"),
        "{y} = [item for item in {x} if len(item) < {k}]",
    ),
    "alphabetical": Step(
        "words",
        "words",
        "ordered",
        "put them in order",
        lambda v, k: sorted(v),
        ("{y} = sorted({x})", "{y} = list({x})\n{y}.sort()"),
        "{y} = sorted({x}, key=len)",
    ),
    "named": Step(
        "words",
        "words",
        "names",
        "begin each with a capital",
        lambda v, k: [w[:1].upper() + w[1:].lower() for w in v],
        _each("item.capitalize()"),
        "{y} = [item.upper() for item in {x}]",
    ),
    "unique": Step(
        "words",
        "words",
        "distinct",
        "keep the first of equal ones",
        lambda v, k: sorted(set(v), key=v.index),
        DISTINCT,
        "{y} = sorted(set({x}))",
    ),
    "joined": Step(
        "words",
        "text",
        "line",
        "join them by a dash",
        lambda v, k: "-".join(v),
        ('{y} = "-".join({x})', '{y} = ""\nfor i, item in enumerate({x}):\n    {y} += "-" + item if i else item'),
        '{y} = " ".join({x})',
    ),
    "initials": Step(
        "words",
        "text",
        "initials",
        "take their first letters together",
        lambda v, k: "".join(w[:1] for w in v),
        ('{y} = "".join(item[:1] for item in {x})', '{y} = ""\nfor item in {x}:\n    {y} += item[:1]'),
        '{y} = "".join(item[-1:] for item in {x})',
    ),
    "letters": Step(
        "words",
        "number",
        "letters",
        "count all their letters",
        lambda v, k: len("".join(v)),
        _sum("len(item)"),
        "{y} = len({x})",
    ),
    "longest": Step(
        "words",
        "number",
        "longest",
        "take the length of the longest, or 0",
        lambda v, k: len(max(v, key=len, default="")),
        (
            "{y} = max([len(item) for item in {x}] + [0])",
            "{y} = 0\nfor item in {x}:\n    if len(item) > {y}:\n        {y} = len(item)",
        ),
        "{y} = min([len(item) for item in {x}] + [0])",
    ),
}
