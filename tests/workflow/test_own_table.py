"""A CSV file of one's own runs the same chain, by a section of params.yaml and no code."""

import json
from collections import Counter

import numpy as np
import pytest

SECTION = """
patients:
  kind: table
  path: data/own/patients.csv
  target: recovered
  group: clinic
  leave_out: [name]
  columns: {grade: [low, high]}
  seeds: [0]
  train:
    mlp: {epochs: 3}
  evaluate:
    criteria:
      mlp: {sparsities: [0.9], epochs: 1}
    models: {latency_repeats: 3}
"""


@pytest.fixture
def patients(checkout):
    """Two hundred patients of forty clinics, some values missing."""
    generator = np.random.default_rng(0)
    lines = ["name;age;town;grade;clinic;recovered"]
    for i in range(200):
        age, town, grade = generator.normal(50, 10), ["Bonn", "Kiel", "Ulm"][i % 3], ["low", "high"][i % 2]
        recovered = "yes" if age + 5 * (i % 2) + generator.normal() > 52 else "no"
        lines.append(f"p{i};{'' if i % 9 == 0 else round(age, 2)};{town};{grade};c{i % 40};{recovered}")
    path = checkout.path / "data/own/patients.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")
    (checkout.path / "params.yaml").write_text((checkout.path / "params.yaml").read_text() + SECTION)
    return checkout


def test_a_csv_file_runs_the_whole_chain_and_is_followed(patients):
    jobs = patients.snakemake("patients")
    assert jobs["acquire"] == 1 and jobs["curate_table"] == 1 and jobs["train_adamw"] == 1
    assert jobs["prune"] == 1 and jobs["feature_survival"] == 1
    assert (patients.path / "results/patients/evaluate/plots/accuracy.svg").is_file()
    report = json.loads((patients.path / "results/patients/curate/all/seed0/report.json").read_text())
    assert report["columns"]["types"] == {"numeric": 1, "category": 1, "ordinal": 1}
    assert patients.snakemake("-n", "patients") == Counter()
    path = patients.path / "data/own/patients.csv"
    path.write_text(path.read_text().replace("Bonn", "Rome", 1))
    assert patients.snakemake("-n", "patients")["acquire"] == 1


def test_a_target_that_is_not_there_ends_in_one_line(patients):
    path = patients.path / "params.yaml"
    path.write_text(path.read_text().replace("target: recovered", "target: healed"))
    done = patients.run("snakemake", "patients_curate", check=False)
    assert done.returncode != 0
    expected = "data/own/patients.csv: no column 'healed'; it has name, age, town, grade, clinic, recovered"
    assert expected in done.stdout + done.stderr
