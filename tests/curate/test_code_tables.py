"""Tables beside documents hold what Python itself says of the files: names, signatures, places, examples that run."""

import ast
import doctest
import inspect

import pyarrow as pa
import pytest

from winnow.curate.code_tables import (
    DOCTESTS,
    FUNCTIONS,
    INSTRUCTIONS,
    NODES,
    doctests_table,
    functions_table,
    instructions_table,
    nodes_table,
    sources_of,
)

TEXT = '''"""A module."""
import functools

def double(x: int, *rest, by=2, **others) -> int:
    """Twice.

    >>> double(3)
    6
    >>> y = 4
    >>> double(y)
    8
    """
    return x * by

class Box:
    """A box: é."""

    async def open(self):
        pass

    @staticmethod
    def made(a, /, b): return Box()

def outer():
    @functools.cache
    def inner():
        """Inner."""
        # why
        return "é", f"{1}"
    return inner

def told(): "Said."; return 1
'''


def documents(*texts, language="python", split="train"):
    count = len(texts)
    columns = {"file_id": range(1, count + 1), "path": [f"p/m{i}.py" for i in range(count)]}
    return {split: pa.table({**columns, "language": [language] * count, "text": texts})}


@pytest.fixture(scope="module")
def module():
    scope = {"__name__": "m"}
    exec(TEXT, scope)
    return scope


def rows_of(table):
    return {row["qualname"]: row for row in table.to_pylist()}


def test_functions_are_named_and_signed_as_python_has_them(module):
    table = functions_table(sources_of(documents(TEXT)))
    rows = rows_of(table)
    made = {
        f.__qualname__: f
        for f in (module["double"], module["Box"].open, module["Box"].made, module["outer"], module["told"])
    }
    inner = module["outer"]().__wrapped__
    made[inner.__qualname__] = inner
    assert table.schema == FUNCTIONS and set(rows) == set(made)
    for name, row in rows.items():
        plain = inspect.signature(made[name])
        start = "async def" if inspect.iscoroutinefunction(made[name]) else "def"
        scope = {}
        exec(f"{row['signature']}: ...", scope)
        assert inspect.signature(scope[made[name].__name__]) == plain and row["signature"].startswith(start + " ")
        assert row["docstring"] == inspect.getdoc(made[name])
        assert row["line"] == made[name].__code__.co_firstlineno + bool(name in ("Box.made", "outer.<locals>.inner"))
    assert [row["line"] for row in table.to_pylist()] == sorted(row["line"] for row in rows.values())
    assert len({row["function_id"] for row in rows.values()}) == len(rows)


def test_bodies_are_the_lines_after_the_documentation():
    rows = rows_of(functions_table(sources_of(documents(TEXT))))
    assert rows["double"]["body"] == "    return x * by\n"
    assert rows["outer"]["body"].startswith("    @functools.cache\n    def inner():\n")
    assert rows["outer.<locals>.inner"]["body"] == '        return "é", f"{1}"\n'
    assert rows["Box.made"]["body"] == "return Box()\n" and rows["told"]["body"] == "return 1\n"
    (row,) = functions_table(sources_of(documents('def f():\n    "Only told."\n'))).to_pylist()
    assert row["body"] == "" and row["docstring"] == "Only told."
    (row,) = functions_table(sources_of(documents("x = '\x0c'\r\ndef f():\r\n    return 1"))).to_pylist()
    assert row["body"] == "    return 1" and (row["line"], row["end_line"]) == (2, 3)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_nodes_are_where_python_says_they_are(end):
    text = TEXT.replace("\n", end)
    (source,) = sources_of(documents(text))
    rows = nodes_table([source]).to_pylist()
    walked = [node for node in ast.walk(source.tree) if not isinstance(node, ast.expr_context)]
    assert len(rows) == len(walked)
    assert sorted(row["kind"] for row in rows) == sorted(type(node).__name__ for node in walked)
    placed = [(type(n).__name__, ast.get_source_segment(TEXT, n)) for n in walked if hasattr(n, "lineno")]
    found = [
        (row["kind"], text[row["start"] : row["end"]].replace(end, "\n")) for row in rows if row["start"] is not None
    ]
    assert sorted(found) == sorted(placed)
    parents = {row["node"]: row["parent"] for row in rows}
    assert parents.pop(0) is None and all(parent < node for node, parent in parents.items())
    spans = {row["node"]: (row["start"], row["end"]) for row in rows if row["start"] is not None}
    for node, (first, last) in spans.items():
        # What decorates a definition stands before it.
        if parents.get(node) in spans and not rows[parents[node]]["kind"].endswith("Def"):
            assert spans[parents[node]][0] <= first <= last <= spans[parents[node]][1]


def test_examples_print_what_they_are_expected_to_after_those_before_them(module):
    table = doctests_table(sources_of(documents(TEXT)))
    rows = table.to_pylist()
    assert table.schema == DOCTESTS and [row["source"] for row in rows] == ["double(3)\n", "y = 4\n", "double(y)\n"]
    functions = rows_of(functions_table(sources_of(documents(TEXT))))
    assert {row["function_id"] for row in rows} == {functions["double"]["function_id"]}
    for row in rows:
        scope = dict(module)
        exec(row["setup"], scope)
        example = doctest.DocTest([doctest.Example(row["source"], row["expected"])], scope, "e", None, 0, None)
        assert doctest.DocTestRunner(verbose=False).run(example).failed == 0
    assert doctests_table(sources_of(documents('def f():\n    """\n    >>> 1\n  2\n    """\n'))).num_rows == 0


def test_instructions_ask_for_a_signature_and_are_answered_by_a_function_of_it(module):
    table = instructions_table(sources_of(documents(TEXT)))
    functions = {row["function_id"]: row for row in functions_table(sources_of(documents(TEXT))).to_pylist()}
    rows = {functions[row["function_id"]]["qualname"]: row for row in table.to_pylist()}
    # Documentation on the line of the name, and functions without any, ask for nothing.
    assert table.schema == INSTRUCTIONS and set(rows) == {"double", "outer.<locals>.inner"}
    assert rows["double"]["prompt"] == "Twice." and rows["outer.<locals>.inner"]["prompt"] == "Inner."
    for name, row in rows.items():
        scope = {}
        exec(row["response"], scope)
        made = scope[name.rpartition(".")[2]]
        assert row["response"].startswith(row["constraint"]) and made.__doc__ is None
        assert row["split"] == "train"
    scope = {}
    exec(rows["double"]["response"], scope)
    assert scope["double"](7, by=3) == module["double"](7, by=3) == 21


def test_what_is_not_python_or_does_not_parse_has_no_rows_and_rows_belong_to_the_split_of_their_file():
    splits = documents("def f(): pass", split="train") | documents("def g(): pass", "def (", split="test")
    splits["test"] = splits["test"].set_column(0, "file_id", pa.array([7, 8]))
    assert {(r["split"], r["file_id"]) for r in functions_table(sources_of(splits)).to_pylist()} == {
        ("train", 1),
        ("test", 7),
    }
    assert list(sources_of(documents("def f(): pass", language="c"))) == []
    assert instructions_table([]).schema == INSTRUCTIONS
    for table, schema in ((functions_table([]), FUNCTIONS), (nodes_table([]), NODES), (doctests_table([]), DOCTESTS)):
        assert table.num_rows == 0 and table.schema == schema
