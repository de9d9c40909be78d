"""Triples say what the files do, by full names, and nothing that is not known."""

import ast

import pytest

from winnow.curate.code_tables import Source
from winnow.curate.code_triples import TRIPLES, module_of, triples_table

TEXT = """
import os.path
import numpy as np
from . import sibling
from ..far import thing as other, helper
from x import *

class Base(other):
    def __init__(self):
        self.run()
        self.unknown()
        print(np.zeros(3))

    def run(self):
        def inner():
            helper.deep(1)
            self.run()
        raise ValueError("no")

class Child(Base, unknown.Name):
    class Inner(Base): ...

def build():
    os.path.join("a")
    nobody(1)
    raise other
    raise
    return Child().run(), (lambda: sibling())()
"""


def told(text, path="p/q/m.py"):
    table = triples_table([Source(1, "train", path, text, ast.parse(text))])
    assert table.schema == TRIPLES
    return {(row["head"], row["relation"], row["tail"]) for row in table.to_pylist()}


def test_a_file_says_who_defines_imports_calls_inherits_and_raises():
    assert told(TEXT) == {
        ("p.q.m", "imports", "os.path"),
        ("p.q.m", "imports", "numpy"),
        ("p.q.m", "imports", "p.q"),
        ("p.q.m", "imports", "p.far"),
        ("p.q.m", "imports", "x"),
        ("p.q.m", "defines", "p.q.m.Base"),
        ("p.q.m", "defines", "p.q.m.Child"),
        ("p.q.m", "defines", "p.q.m.build"),
        ("p.q.m.Base", "defines", "p.q.m.Base.__init__"),
        ("p.q.m.Base", "defines", "p.q.m.Base.run"),
        ("p.q.m.Base.run", "defines", "p.q.m.Base.run.inner"),
        ("p.q.m.Child", "defines", "p.q.m.Child.Inner"),
        ("p.q.m.Base", "inherits", "p.far.thing"),
        ("p.q.m.Child", "inherits", "p.q.m.Base"),
        ("p.q.m.Child.Inner", "inherits", "p.q.m.Base"),
        ("p.q.m.Base.__init__", "calls", "p.q.m.Base.run"),
        ("p.q.m.Base.__init__", "calls", "builtins.print"),
        ("p.q.m.Base.__init__", "calls", "numpy.zeros"),
        ("p.q.m.Base.run.inner", "calls", "p.far.helper.deep"),
        ("p.q.m.Base.run.inner", "calls", "p.q.m.Base.run"),
        ("p.q.m.Base.run", "calls", "builtins.ValueError"),
        ("p.q.m.Base.run", "raises", "builtins.ValueError"),
        ("p.q.m.build", "calls", "os.path.join"),
        ("p.q.m.build", "calls", "p.q.m.Child"),
        ("p.q.m.build", "calls", "p.q.sibling"),
        ("p.q.m.build", "raises", "p.far.thing"),
    }


@pytest.mark.parametrize(
    ("path", "imported"),
    [("p/q/__init__.py", {"p.q", "p.far"}), ("p/q/m.py", {"p.q", "p.far"}), ("p/m/n/o.py", {"p.m.n", "p.m.far"})],
)
def test_relative_imports_count_from_the_files_own_package(path, imported):
    found = {tail for _, relation, tail in told("from . import a\nfrom ..far import b", path) if relation == "imports"}
    assert found == imported
    assert module_of("p/q/__init__.py") == "p.q" and module_of("m.py") == "m"


def test_what_is_said_twice_stands_once_and_nothing_is_said_of_no_files():
    assert told("f = 1\nprint(1)\nprint(2)\n", "m.py") == {("m", "calls", "builtins.print")}
    assert triples_table([]).num_rows == 0 and triples_table([]).schema == TRIPLES
