"""Labels of bytes beside the text that they lie under."""

import numpy as np
import pytest

from winnow.workloads.byte_properties import GRAMMAR, PROPERTIES, TREE, byte_properties

TEXT = """import os  # é
@cached
class A(B):
    def f(self, x=[(1, "ü")]):
        if x:
            return os.path.join(x)
"""


def under(name, text=TEXT):
    """The stretches of text that have a property."""
    marks = byte_properties(text)[:, PROPERTIES.index(name)]
    raw, found = text.encode(), []
    for i in np.flatnonzero(marks):
        if found and found[-1][1] == i:
            found[-1][1] = i + 1
        else:
            found.append([i, i + 1])
    return [raw[first:last].decode() for first, last in found]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("comment", ["# é"]),
        ("string", ['"ü"']),
        ("number", ["1"]),
        ("keyword", ["import", "class", "def", "if", "return"]),
        ("name", ["os", "cached", "A", "B", "f", "self", "x", "x", "os", "path", "join", "x"]),
        ("indentation", ["    ", "        ", "            "]),
        ("newline", ["\n"] * 6),
        ("import line", ["import os  # é"]),
        ("decorator", ["@cached"]),
        ("def or class line", ["class A(B):", '    def f(self, x=[(1, "ü")]):']),
        ("argument", ["self", "x"]),
        ("attribute", ["path", "join"]),
        ("called", ["join"]),
        ("in brackets", ["B", "self,", "x=[(1,", '"ü")]', "x"]),
        ("deep in brackets", ["(1,", '"ü")', ]),
        ("operator", ["@", "(", "):", "(", ",", "=[(", ",", ")]):", ":", ".", ".", "(", ")"]),
    ],
)  # fmt: skip
def test_marks_lie_where_they_should(name, expected):
    assert under(name) == expected


def test_lines_three_levels_in_are_nested():
    assert "".join(under("nested")).replace(" ", "") == "returnos.path.join(x)"


def test_a_text_that_does_not_parse_has_no_labels():
    assert byte_properties("def (") is None
    assert byte_properties("").shape == (0, len(PROPERTIES))


TREE_TEXT = '''"""Module é."""
x: int = f(a, key=1)[2]
def g(y: str = "ü") -> float:
    "What g does."
    for i, j in z[1:2]:
        if i:
            return f"{q[0]} {i}"
        elif j:
            pass
    while True:
        w = a[b[c]] if d else e
    async with h() as k:
        n += 1
class C:
    t = """no docstring"""
async def m(*a: A, **b: B):
    async for s in r:
        return
'''


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docstring", ['"""Module é."""', '"What g does."']),
        ("annotation", ["int", "str", "float", "A", "B"]),
        ("keyword argument", ["key"]),
        ("assigned", ["x", "i", "j", "w", "k", "n", "t", "s"]),
        ("subscript", ["2", "1:2", "b[c]"]),
        ("loop line", ["    for i, j in z[1:2]:", "    while True:", "    async for s in r:"]),
        ("condition line", ["        if i:", "        elif j:"]),
        ("return line", ['            return f"{q[0]} {i}"', "        return"]),
    ],
)
def test_facts_of_the_tree_lie_where_they_should(name, expected):
    assert under(name, TREE_TEXT) == expected


def test_properties_are_those_of_the_grammar_and_then_those_of_the_tree():
    assert PROPERTIES == GRAMMAR + TREE and len(PROPERTIES) == len(set(PROPERTIES)) == 25
    marks = byte_properties(TREE_TEXT)
    assert marks[:, len(GRAMMAR) :].any(0).all()
