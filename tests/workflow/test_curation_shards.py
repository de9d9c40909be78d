"""Source files are curated in shards: the same bytes for any number of them and any cores; edits rerun what follows."""

from collections import Counter

import pytest

from tests.workflow.conftest import fresh

SECTION = """
scripts:
  kind: text
  path: data/own/scripts
  seeds: [0]
  curate: {held_out: [apart], near_duplicate_similarity: 0.8, vocabulary: 300, context: 32, shards: 3}
"""
FOLDER = "results/scripts/curate/all/seed0"
TARGET = "scripts_curate"


@pytest.fixture(scope="module")
def curated(built, tmp_path_factory):
    """Three projects of files, of which some are near others, are copies, or cannot be used; curated on one core."""
    checkout = fresh(built, tmp_path_factory.mktemp("shards") / "winnow")
    root = checkout.path / "data/own/scripts"
    for project, count in (("one", 20), ("two", 15), ("apart", 4)):
        (root / project).mkdir(parents=True)
        for i in range(count):
            lines = [f"def {project}_{i}_{k}(x):\n    return x * {i * k} + {k}\n" for k in range(12)]
            (root / project / f"f{i}.py").write_text("\n".join(lines))
    (root / "two/copy.py").write_text((root / "one/f3.py").read_text())
    (root / "two/near.py").write_text((root / "one/f4.py").read_text() + "z = 1\n")
    (root / "two/broken.py").write_text("def f(:\n")
    (root / "two/latin.py").write_bytes("é = 1".encode("latin-1"))
    (checkout.path / "params.yaml").write_text((checkout.path / "params.yaml").read_text() + SECTION)
    checkout.edit("profiles/default/config.yaml", "logger: [mlflow]", "")
    assert jobs(checkout, "--cores", "1") == {
        "acquire": 1,
        "curate_text_shard": 3,
        "curate_text_fates": 1,
        "curate_text": 1,
    }
    return checkout


@pytest.fixture
def scripts(curated, tmp_path):
    return curated.copy(tmp_path / "winnow")


def jobs(checkout, *arguments):
    """Rule -> number of jobs for the target, without the target's own."""
    return Counter({rule: n for rule, n in checkout.snakemake(*arguments, TARGET).items() if rule != TARGET})


def tables(checkout):
    return {path.name: path.read_bytes() for path in (checkout.path / FOLDER).glob("*.*")}


def test_the_number_of_shards_and_of_cores_changes_no_byte(curated, scripts):
    scripts.edit("params.yaml", "shards: 3", "shards: 7")
    assert jobs(scripts, "--cores", "2")["curate_text_shard"] == 7
    assert tables(scripts) == tables(curated) and "fates.parquet" in tables(scripts)


def test_an_edited_threshold_reruns_what_follows_and_not_what_comes_before(scripts):
    before = tables(scripts)
    for old, new, expected in (
        ("near_duplicate_similarity: 0.8", "near_duplicate_similarity: 0.999", ["curate_text_fates", "curate_text"]),
        ("held_out: [apart]", "held_out: [two]", ["curate_text_fates", "curate_text"]),
        ("vocabulary: 300", "vocabulary: 310", ["curate_text"]),
    ):
        scripts.edit("params.yaml", old, new)
        assert jobs(scripts, "-n") == Counter(expected)
        scripts.edit("params.yaml", new, old)
    scripts.edit("params.yaml", "shards: 3", "shards: 3, licences: [MIT, '']")
    assert jobs(scripts, "-n") == {"curate_text_shard": 3, "curate_text_fates": 1, "curate_text": 1}
    # Generated files repeat themselves; of these limits none but that of words drops one, the file with a line more.
    of_generated = ("top_2_gram", "top_3_gram", "top_4_gram", "def_lines", "return_functions", "lines_without_logic")
    repeats = "".join(f"{name}: [null, null], " for name in of_generated)
    limits = f"signals: true, thresholds: {{{repeats}words: [null, 84]}}"
    scripts.edit("params.yaml", "licences: [MIT, '']", limits)
    assert jobs(scripts) == {"curate_text_shard": 3, "curate_text_fates": 1, "curate_text": 1}
    filtered = tables(scripts)
    assert filtered["dropped.parquet"] != before["dropped.parquet"]
    scripts.edit("params.yaml", "words: [null, 84]", "words: [null, 90]")
    assert jobs(scripts, "-n") == Counter(["curate_text_fates", "curate_text"])


def test_a_damaged_shard_is_made_again(scripts):
    path = scripts.path / FOLDER / "shards/1/hashed.shingles"
    path.write_bytes(path.read_bytes()[:-8])
    assert jobs(scripts, "-n")["curate_text_shard"] == 1
