"""Functions of the standard library's own sources, beside what Python's parser and symbol tables say of them."""

import ast
import builtins
import importlib
import inspect
import symtable
import textwrap

import pytest

from winnow.curate.code_functions import Function, algorithmic, explained, functions_of, needs

MODULES = ["textwrap", "bisect", "heapq", "statistics", "colorsys", "fnmatch", "shlex", "posixpath", "calendar"]
SOURCES = {name: inspect.getsource(importlib.import_module(name)) for name in MODULES}


def plain(source):
    """(node, its text) of undecorated functions of a file."""
    tree = ast.parse(source)
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and not n.decorator_list]


@pytest.mark.parametrize("name", MODULES)
def test_text_is_that_of_the_file_and_the_prompt_ends_with_the_documentation(name):
    nodes = {(n.name, n.lineno): n for n in plain(SOURCES[name])}
    lines = SOURCES[name].splitlines(keepends=True)
    texts = {textwrap.dedent("".join(lines[n.lineno - 1 : n.end_lineno])) for n in nodes.values()}
    found = functions_of(SOURCES[name])
    assert found
    for function in found:
        assert function.text in texts or function.text.removesuffix("\n") in texts
        (node,) = ast.parse(function.text).body
        assert (function.name, function.documentation) == (node.name, ast.get_docstring(node) or "")
        assert list(function.arguments) == [
            a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        ]
        head = ast.parse(function.prompt + "    pass\n").body[0]
        assert ast.get_docstring(head) == ast.get_docstring(node)
        assert len(head.body) == 1 + bool(function.documentation)
        assert function.body.endswith("\n") and 2 <= len(function.text.splitlines()) <= 60


def globals_of(table):
    """Names that a function and those in it read from outside, as Python's compiler resolves them."""
    found = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced()}
    return found.union(*(globals_of(child) for child in table.get_children()))


@pytest.mark.parametrize("name", MODULES)
def test_what_a_function_needs_is_what_the_compiler_looks_for_outside(name):
    compared = 0
    for function in functions_of(SOURCES[name]):
        (node,) = ast.parse(function.text).body
        inner = [n for n in ast.walk(node) if n is not node]
        if any(isinstance(n, ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal) for n in inner):
            continue
        whole = symtable.symtable(function.text, "f", "exec")
        defaults = {symbol.get_name() for symbol in whole.get_symbols() if symbol.is_referenced()}
        expected = globals_of(whole.get_children()[0]) | defaults
        expected -= {*dir(builtins), node.name, "__class__"}  # which super() reads
        assert needs(node) == expected, function.name
        compared += 1
    assert compared >= 3


def test_what_binds_names_outside_or_imports_needs_them_and_annotations_do_not_count():
    def of(text):
        return needs(ast.parse(text).body[0])

    assert of("def f(x: Own) -> Own:\n    y: Own = x\n    return y") == set()
    assert of("def f():\n    global seen\n    seen = 1") == {"seen"}
    assert of("def f():\n    import os\n    return os") == {"os"}
    assert of("def f():\n    from os import path\n    return 1") == {"path"}
    assert of("def f(n):\n    return f(n - 1) + g(n)") == {"g"}
    assert of("def f():\n    try:\n        pass\n    except OSError as e:\n        print(e)") == set()
    assert of("def f():\n    def g():\n        pass\n    class C:\n        pass\n    return g, C") == set()
    assert of("def f(a, /, *b, c=d, **e):\n    return a, b, c, e") == {"d"}


def test_functions_that_stand_by_themselves_run_with_the_lines_that_they_import():
    source = "import bisect as b\nfrom math import sqrt, pi as p\nfrom .own import x\nimport os.path\n\n"
    source += "def found(v):\n    return b.bisect(v, 2)\n\ndef root(v):\n    return sqrt(v) + p\n\n"
    source += "def bad(v):\n    return x + v\n\ndef worse(v):\n    return os.path.join(v)\n"
    found = {f.name: f for f in functions_of(source)}
    assert found["found"].imports == ("import bisect as b",)
    assert found["root"].imports == ("from math import pi as p", "from math import sqrt")
    assert found["bad"].imports is None and found["worse"].imports is None
    scope = {}
    exec("\n".join([*found["root"].imports, found["root"].text]), scope)
    assert scope["root"](4) == pytest.approx(2 + 3.14159265)


@pytest.mark.parametrize(
    "text",
    [
        "def f(:\n",
        "def f(): return 1\n",
        'def f():\n    """Only documentation."""\n',
        "@cached\ndef f():\n    return 1\n",
        "def f():\n" + "    x = 1\n" * 60,
        "x\0",
        "async def f():\n    return 1\n",
    ],
)
def test_what_is_no_function_to_learn_from_is_left_out(text):
    assert functions_of(text) == []


def test_the_longest_function_has_sixty_lines():
    assert len(functions_of("def f():\n" + "    x = 1\n" * 59)) == 1


def test_algorithms_are_told_by_their_name_or_first_sentence_and_stand_by_themselves():
    def function(name="f", documentation="", arguments=("x",), imports=()):
        return Function(name, arguments, documentation, "", "", imports)

    assert algorithmic(function("merge_sorted")) and algorithmic(function(documentation="Sort them. Else not."))
    assert not algorithmic(function()) and not algorithmic(function(documentation="Do it. Then sort."))
    assert not algorithmic(function("sort", imports=None)) and not algorithmic(function("sort", arguments=()))
    assert not algorithmic(function("sort", arguments=("self", "x")))
    assert not algorithmic(function("sort", arguments=("cls",)))
    assert algorithmic(function("sort", arguments=("x", "self")))


@pytest.mark.parametrize("name", MODULES)
def test_an_explained_function_is_the_same_program(name):
    noted = 0
    for function in functions_of(SOURCES[name]):
        page = explained(function)
        program = ast.parse(page).body
        assert [ast.unparse(n) for n in program[:-1]] == list(function.imports or ())
        assert ast.dump(program[-1]) == ast.dump(ast.parse(function.text).body[0])
        noted += page.count("# ")
        assert page.startswith("# ")
    assert noted > len(functions_of(SOURCES[name]))


def test_statements_are_told_in_words():
    text = '''def the_first(rows, limit):
    """Find the first.

    More of it.
    """
    total = 0
    for row in rows:
        if len(row) >= limit:
            return row
        total += 1
    while not total:
        yield total
    raise ValueError("none")
'''
    (function,) = functions_of(text)
    lines = explained(function).splitlines()
    assert lines[:3] == ["# The first", "# Find the first.", "def the_first(rows, limit):"]
    notes = [line.strip() for line in lines if line.strip().startswith("# ")][2:]
    assert notes == [
        "# Let total be 0.",
        "# Take each row of rows.",
        "# Only where the number of row is at least limit:",
        "# The answer is row.",
        "# Add 1 to total.",
        "# Go on as long as not total.",
        "# Hand out total.",
        "# Refuse with ValueError('none').",
    ]
    long = "x + " * 40 + "x"
    (function,) = functions_of(f"def f(x):\n    y = 1\n    return {long}\n")
    (note,) = [line for line in explained(function).splitlines() if "answer" in line]
    assert note.endswith(" ....") and len(note) < 90
