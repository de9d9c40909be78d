"""The code digest follows meaning: what a stage imports, however deep, and nothing that cannot change its result."""

from pathlib import Path

import pytest

from winnow.errors import InputError
from winnow.pipeline import closure

STAGE = '''"""A stage."""
from pkg.middle import work


def run():
    return work(1)
'''
FILES = {
    "stages/fam/one.py": STAGE,
    "stages/fam/rules.smk": """rule one:
    input:
        a="x",
    log:
        "l",
    script:
        "one.py"
""",
    "pkg/__init__.py": "",
    "pkg/middle.py": "def work(x):\n    from pkg.deep.leaf import leaf\n    return leaf(x)\n",
    "pkg/deep/__init__.py": "from pkg.deep import sibling\n\ndef lazy():\n    import pkg.unused\n",
    "pkg/deep/sibling.py": "VALUE = 1\n",
    "pkg/deep/leaf.py": 'def leaf(x):\n    """Doc."""\n    return x + 1  # why\n',
    "pkg/unused.py": "VALUE = 2\n",
    "pkg/other.py": "VALUE = 3\n",
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def digest(root: Path) -> str:
    for cached in (
        closure._tree,
        closure._tree_digest,
        closure._imports,
        closure._module_file,
        closure._rule_text,
    ):
        cached.cache_clear()
    return closure.code_digest(root / "stages/fam/one.py", root)


def test_what_is_remembered_of_files_changes_no_digest(root):
    """With and without memory, with another's memory, with a damaged one, and after an edit and back."""
    memory = root / ".snakemake/winnow/code.json"
    without = digest(root)
    assert not memory.exists()  # nothing is written where Snakemake has never run
    memory.parent.parent.mkdir()

    def anew() -> str:
        closure._memory.cache_clear()
        return digest(root)

    assert anew() == without and memory.exists()
    written = memory.read_text()
    assert anew() == without and memory.read_text() == written  # learnt once
    leaf = root / "pkg/deep/leaf.py"
    text = leaf.read_text()
    leaf.write_text(text.replace("x + 1", "x + 5"))
    assert anew() != without
    leaf.write_text(text)
    assert anew() == without
    memory.write_text("{")
    assert anew() == without


def edited(root: Path, name: str, old: str, new: str) -> bool:
    before = digest(root)
    path = root / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return digest(root) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stages/fam/one.py", "work(1)", "work(2)"),
        ("pkg/middle.py", "leaf(x)", "leaf(x + 1)"),
        ("pkg/deep/leaf.py", "x + 1", "x + 2"),
        ("pkg/deep/sibling.py", "1", "2"),
        ("pkg/deep/__init__.py", "from pkg.deep import sibling", "from pkg.deep import sibling\nX = 1"),
        ("stages/fam/rules.smk", 'a="x"', 'b="x"'),
    ],
)
def test_a_change_of_meaning_anywhere_in_the_closure_changes_the_digest(root, name, old, new):
    assert edited(root, name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stages/fam/one.py", '"""A stage."""', '"""Another text."""'),
        ("pkg/deep/leaf.py", "# why", "# because"),
        ("pkg/deep/leaf.py", '"""Doc."""', '"""Longer doc."""'),
        ("pkg/deep/sibling.py", "1", '1\n"""What it is."""'),
        ("pkg/deep/leaf.py", "x + 1", "(x   +\n        1)"),
        ("pkg/other.py", "3", "4"),
        ("pkg/unused.py", "2", "4"),
        ("stages/fam/rules.smk", "rule one:", "# a comment\nrule one:"),
        ("stages/fam/rules.smk", 'a="x",', "a='x'  # quoted otherwise"),
        ("stages/fam/rules.smk", '"l"', '"another/log"'),
    ],
)
def test_a_change_that_cannot_matter_leaves_the_digest(root, name, old, new):
    assert not edited(root, name, old, new)


def test_a_function_of_a_package_counts_with_what_it_imports_when_the_package_itself_is_named(root):
    path = root / "stages/fam/one.py"
    path.write_text(STAGE.replace("from pkg.middle import work", "from pkg.deep import lazy as work"))
    assert edited(root, "pkg/unused.py", "2", "4")


def test_touching_files_leaves_the_digest(root):
    before = digest(root)
    for path in root.rglob("*.*"):
        path.touch()
    assert digest(root) == before


def test_a_script_that_does_not_parse_is_named_with_its_line(root):
    (root / "stages/fam/one.py").write_text("def broken(:\n")
    with pytest.raises(InputError, match=r"one\.py:1: does not parse"):
        digest(root)


def test_an_absent_script_is_named(root):
    (root / "stages/fam/one.py").unlink()
    with pytest.raises(InputError, match=r"one\.py: no such script"):
        digest(root)
