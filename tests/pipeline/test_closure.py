"""The code digest follows meaning: what a stage imports, however deep, and nothing that cannot change its result."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from winnow.errors import InputError
from winnow.pipeline import closure
from winnow.pipeline.workflow import Workflow

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
        closure._closure,
        closure._rules,
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


MODELS = {
    "winnow/models/__init__.py": "def build(name):\n    return name\n",
    "winnow/models/mlp.py": "from winnow.models.modes import mode\n\nclass MLP:\n    depth = 1\n",
    "winnow/models/modes.py": "def mode():\n    return 1\n",
    "winnow/models/small_cnn.py": "class SmallCNN:\n    depth = 1\n",
}


@pytest.fixture
def with_models(root):
    for name, text in MODELS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    builds = "from winnow.models import build\n\n\ndef work(x):\n    return build('mlp')\n"
    (root / "pkg/middle.py").write_text(builds)
    return root


@pytest.mark.parametrize(
    ("module", "counts"),
    [("winnow/models/mlp.py", True), ("winnow/models/modes.py", True), ("winnow/models/small_cnn.py", False)],
)
def test_of_the_models_only_those_count_that_code_names(with_models, module, counts):
    assert edited(with_models, module, "1", "2") is counts
    script = with_models / "stages/fam/one.py"
    assert closure.architectures_of(script, with_models) == {"mlp"} and closure.reads_models(script, with_models)
    (with_models / "pkg/middle.py").write_text(FILES["pkg/middle.py"])
    digest(with_models)
    assert not closure.architectures_of(script, with_models) and not closure.reads_models(script, with_models)


def test_an_architecture_s_digest_follows_its_module_and_its_place_in_the_registry(with_models, monkeypatch):
    def of_mlp() -> str:
        digest(with_models)
        return closure.architecture_digest("mlp", with_models)

    before = of_mlp()
    (with_models / "winnow/models/small_cnn.py").write_text("class SmallCNN:\n    depth = 2\n")
    assert of_mlp() == before
    (with_models / "winnow/models/modes.py").write_text("def mode():\n    return 2\n")
    after = of_mlp()
    assert after != before
    monkeypatch.setitem(closure.ARCHITECTURES, "mlp", "winnow.models.mlp.Other")
    assert of_mlp() not in (before, after)
    monkeypatch.setitem(closure.ARCHITECTURES, "mlp", "winnow.models.absent.MLP")
    with pytest.raises(InputError, match=r"mlp is defined in winnow\.models\.absent, which is no module"):
        of_mlp()


def test_jobs_of_a_workload_count_the_architectures_of_its_settings_and_of_its_training_stages():
    repository = Path(__file__).parents[2]
    flow = Workflow(repository, {}, lambda: None)
    code = flow.closure("stages/evaluate/measure_models.py")
    script, *digits = code(SimpleNamespace(workload="digits")).split("-")
    assert set(digits) >= {closure.architecture_digest(name, repository) for name in ("mlp", "small_cnn", "fastgrnn")}
    assert closure.architecture_digest("transformer", repository) not in digits
    own, *python = code(SimpleNamespace(workload="python")).split("-")
    assert own == script and closure.architecture_digest("transformer", repository) in python
    assert closure.architecture_digest("mlp", repository) not in python
    # Named by no setting: the stage of the method builds it.
    sonar = code(SimpleNamespace(workload="sonar_objects")).split("-")
    assert closure.architecture_digest("transfer_net", repository) in sonar
    assert "-" not in flow.closure("stages/evaluate/plot.py")(SimpleNamespace(workload="digits"))
    assert "-" not in code(SimpleNamespace())


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
