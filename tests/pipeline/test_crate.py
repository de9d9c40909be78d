"""The exported crate is a Workflow Run Crate: read back, it names workflow, inputs and results."""

import json
import os
import zipfile

import pytest

pytest.importorskip("rocrate")

from rocrate.rocrate import ROCrate

from winnow.errors import InputError, exit_code
from winnow.pipeline.crate import build_crate, main

CITATION = 'title: "Winnow"\nauthors: [{name: "The Winnow developers"}]\nversion: 0.1.0\nlicense: MIT\n'
FILES = {
    "Snakefile": "rule all:\n    input: []\n",
    "params.yaml": "scale: smoke\n",
    "claims.yaml": "claims: []\n",
    "CITATION.cff": CITATION,
    "LICENSE": "MIT License\n",
    "provenance.lock": "{}\n",
    "envs/requirements.lock": "numpy==2.4.6\n",
    "stages/train/rules.smk": "",
    "winnow/errors.py": "",
    "results/claims.parquet": "PAR1",
    "results/digits/evaluate/models/metrics.parquet": "PAR1",
    "results/digits/evaluate/plots/models.svg": "<svg/>",
    "results/digits/train/mlp/seed0/model.safetensors": "weights stay out",
}


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        os.utime(root / name, (1_700_000_000, 1_700_000_000))
    return root


@pytest.fixture
def crate(checkout, tmp_path):
    build_crate(checkout).write_zip(tmp_path / "crate.zip")
    return ROCrate(tmp_path / "crate.zip")


def ids(entities):
    entities = entities if isinstance(entities, list) else [entities]
    return {entity.id for entity in entities}


def test_the_crate_conforms_to_the_profiles_of_a_workflow_run(crate):
    assert ids(crate.root_dataset["conformsTo"]) == {
        "https://w3id.org/ro/wfrun/process/0.6",
        "https://w3id.org/ro/wfrun/workflow/0.6",
        "https://w3id.org/workflowhub/workflow-ro-crate/1.1",
    }
    assert crate.metadata["conformsTo"] == "https://w3id.org/ro/crate/1.3"


def test_the_workflow_is_the_main_entity_and_names_its_language(crate):
    workflow = crate.mainEntity
    assert workflow.id == "Snakefile"
    assert set(workflow.type) == {"File", "SoftwareSourceCode", "ComputationalWorkflow"}
    assert workflow["programmingLanguage"]["name"] == "Snakemake"
    assert {"stages/train/rules.smk", "winnow/errors.py"} == ids(workflow["hasPart"])


def test_the_run_names_its_instrument_inputs_results_and_end(crate):
    run = crate.root_dataset["mentions"]
    run = run[0] if isinstance(run, list) else run
    assert run.type == "CreateAction"
    assert run["instrument"].id == "Snakefile"
    assert ids(run["object"]) == {"params.yaml", "claims.yaml", "envs/requirements.lock"}
    assert ids(run["result"]) == {name for name in FILES if name.startswith("results/") and "model.s" not in name}
    assert run["endTime"] == "2023-11-14T22:13:20+00:00"
    assert run["agent"]["name"] == "The Winnow developers"


def test_every_file_that_is_named_is_in_the_crate_byte_for_byte(checkout, tmp_path, crate):
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        graph = json.loads(archive.read("ro-crate-metadata.json"))["@graph"]
        named = {e["@id"] for e in graph if "File" in e["@type"]}
        assert named == set(FILES) - {"results/digits/train/mlp/seed0/model.safetensors"}
        assert set(archive.namelist()) == named | {"ro-crate-metadata.json"}
        for name in named:
            assert archive.read(name).decode() == FILES[name]


def test_root_has_what_the_specification_asks_of_it(crate):
    assert crate.name and crate.description
    assert crate.root_dataset["license"] == "https://spdx.org/licenses/MIT"
    assert crate.root_dataset["datePublished"].startswith("2023-11-14")


@pytest.mark.parametrize("missing", ["results/claims.parquet", "provenance.lock", "Snakefile"])
def test_an_unfinished_run_is_refused_and_leaves_no_file(checkout, monkeypatch, capsys, missing):
    (checkout / missing).unlink()
    monkeypatch.chdir(checkout)
    assert exit_code(lambda: main(["out.zip"])) == 1
    assert f"{missing}: no such file" in capsys.readouterr().err
    assert not (checkout / "out.zip").exists()


def test_an_unfinished_run_is_an_input_error(checkout):
    (checkout / "results/claims.parquet").unlink()
    with pytest.raises(InputError):
        build_crate(checkout)
