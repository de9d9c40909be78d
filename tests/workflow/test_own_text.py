"""A folder of source files or of prose of one's own runs the same chain, by a section of params.yaml and no code."""

import json
import random
from collections import Counter

import pyarrow.parquet as pq
import pytest

SECTION = """
scripts:
  kind: text
  path: data/own/scripts
  seeds: [0]
  curate: {held_out: [apart], vocabulary: 300, context: 32}
  train:
    transformer: {arguments: {width: 16, layers: 1, heads: 2}}
  evaluate:
    models: {latency_repeats: 3}
"""
PROSE = """
letters:
  kind: text
  path: data/own/letters
  seeds: [0]
  curate:
    vocabulary: 270
    context: 32
    clean: true
    downsample: 0.5
    signals: true
    thresholds: {words: [5, null], lines: [1, null]}
  train:
    transformer: {arguments: {width: 16, layers: 1, heads: 2}}
  evaluate:
    models: {latency_repeats: 3}
"""


@pytest.fixture
def letters(checkout):
    """A flat folder of prose and of sources that are no Python, nothing of it held out."""
    root = checkout.path / "data/own/letters"
    root.mkdir(parents=True)
    nouns = ("harbour", "garden", "letter", "winter", "candle", "river", "mountain", "village", "orchard", "window")
    verbs = ("crosses", "answers", "forgets", "follows", "carries", "remembers", "leaves")
    places = ("again", "slowly", "tonight", "in the rain", "without a word", "as it's told")
    for i, suffix in enumerate([".txt", ".md", ".rst", ".rs"] * 12):
        draw = random.Random(i)
        sentence = [[draw.choice(part) for part in (nouns, verbs, nouns, places)] for _ in range(90)]
        (root / f"part{i}{suffix}").write_text("\n".join(" ".join(words).capitalize() + "." for words in sentence))
    (root / "copy.txt").write_bytes((root / "part0.txt").read_bytes())
    (checkout.path / "params.yaml").write_text((checkout.path / "params.yaml").read_text() + PROSE)
    return checkout


def test_a_folder_of_prose_runs_the_whole_chain(letters):
    jobs = letters.snakemake("letters")
    assert jobs["acquire"] == jobs["curate_text"] == jobs["train_adamw"] == jobs["prune"] == jobs["measure_models"] == 1
    folder = letters.path / "results/letters/curate/all/seed0"
    report = json.loads((folder / "report.json").read_text())
    assert report["rows_in"] == 49 and report["dropped"]["exact_duplicate"] == 1 and report["dropped"]["syntax"] == 0
    assert set(pq.read_table(folder / "train.parquet")["language"].to_pylist()) > {"text", "markdown"}
    summary = json.loads((letters.path / "summaries/letters.json").read_text())
    assert summary["evaluate"]["transformer"]["train"]["test.bits_per_byte"] > 0


@pytest.fixture
def scripts(checkout):
    """Three projects, one of them held out, with a copy and a file that does not parse."""
    root = checkout.path / "data/own/scripts"
    for project, count in (("one", 20), ("two", 15), ("apart", 4)):
        (root / project).mkdir(parents=True)
        for i in range(count):
            lines = [f"def {project}_{i}_{k}(x):\n    return x * {i * k} + {k}\n" for k in range(12)]
            (root / project / f"f{i}.py").write_text("\n".join(lines))
    (root / "two/copy.py").write_text((root / "one/f3.py").read_text())
    (root / "two/broken.py").write_text("def f(:\n")
    (checkout.path / "params.yaml").write_text((checkout.path / "params.yaml").read_text() + SECTION)
    return checkout


def test_a_folder_of_source_files_runs_the_whole_chain_and_is_followed(scripts):
    jobs = scripts.snakemake("scripts")
    assert jobs["acquire"] == jobs["curate_text"] == jobs["train_adamw"] == jobs["prune"] == jobs["measure_models"] == 1
    report = json.loads((scripts.path / "results/scripts/curate/all/seed0/report.json").read_text())
    assert report["dropped"]["exact_duplicate"] == report["dropped"]["syntax"] == 1
    assert report["splits"]["held_out"]["kept"] > 0
    summary = json.loads((scripts.path / "summaries/scripts.json").read_text())
    assert summary["evaluate"]["transformer"]["train"]["test.bits_per_byte"] > 0
    assert scripts.snakemake("-n", "scripts") == Counter()
    (scripts.path / "data/own/scripts/one/f0.py").write_text("x = 1\n")
    assert scripts.snakemake("-n", "scripts")["acquire"] == 1


def test_a_package_that_is_not_there_ends_in_one_line(scripts):
    scripts.edit("params.yaml", "held_out: [apart]", "held_out: [apat]")
    done = scripts.run("snakemake", "scripts_curate", check=False)
    assert done.returncode != 0
    assert "held_out names 'apat', which is none of apart, one, two" in done.stdout + done.stderr
