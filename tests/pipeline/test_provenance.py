"""Records that travel: only bytes that a stage's record tells of count as fresh."""

import json
import os
import shutil

import pytest

from winnow.pipeline import provenance

OUTPUT = "results/digits/train/mlp/seed0/model.safetensors"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / OUTPUT
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    return path


def record(path, **changes):
    from hashlib import sha256

    made = provenance.make_record("train", [{"epochs": 3}, "digest"], {"in": "0" * 64}, "", "p")
    return made | {"sha256": sha256(path.read_bytes()).hexdigest()} | changes


def snakemake_says():
    path = provenance.metadata_path(OUTPUT)
    return json.loads(path.read_text())


def test_a_remembered_output_is_known_and_goes_into_the_lock(here):
    provenance.remember(OUTPUT, record(here))
    assert provenance.reconcile(after_run=True) == []
    assert snakemake_says()["params"] == sorted(["{'epochs': 3}", "'digest'"])
    assert snakemake_says()["input_checksums"] == {"in": "sha256:" + "0" * 64}
    assert provenance.read_lock()[0][OUTPUT] == record(here)


def test_a_clone_without_snakemakes_folder_gets_its_records_from_the_lock(here):
    provenance.remember(OUTPUT, record(here))
    provenance.reconcile(after_run=True)
    shutil.rmtree(".snakemake")
    os.utime(here, (1, 1))
    assert provenance.reconcile(after_run=False) == []
    assert snakemake_says()["params"] == sorted(["{'epochs': 3}", "'digest'"])


def test_other_bytes_are_stale_even_with_the_old_time_and_size(here):
    provenance.remember(OUTPUT, record(here))
    provenance.reconcile(after_run=True)
    status = here.stat()
    here.write_bytes(b"WEIGHTS")
    os.utime(here, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert provenance.reconcile(after_run=True) == [OUTPUT]
    assert snakemake_says()["params"] == provenance.STALE


def test_a_blessing_by_touch_does_not_outlive_the_next_look(here):
    here.write_bytes(b"made by nobody")
    path = provenance.metadata_path(OUTPUT)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"params": ["'digest'"], "record_format_version": 6}))
    assert provenance.reconcile(after_run=True) == [OUTPUT]
    assert snakemake_says()["params"] == provenance.STALE


def test_bytes_restored_from_an_earlier_run_get_that_runs_record(here):
    provenance.remember(OUTPUT, record(here))
    here.write_bytes(b"later weights")
    provenance.remember(OUTPUT, record(here, params=["later"]))
    provenance.reconcile(after_run=False)
    assert snakemake_says()["params"] == ["later"]
    here.write_bytes(b"weights")
    assert provenance.reconcile(after_run=False) == []
    assert snakemake_says()["params"] == sorted(["{'epochs': 3}", "'digest'"])


def test_the_lock_holds_no_time_and_is_sorted(here):
    provenance.remember(OUTPUT, record(here, platform=provenance.platform_digest()))
    provenance.reconcile(after_run=True)
    first = provenance.LOCK.read_text()
    os.utime(here, (5, 5))
    provenance.reconcile(after_run=True)
    assert provenance.LOCK.read_text() == first
    assert "time" not in first
    assert len(first.splitlines()) == 2  # the platform and the output


def test_outputs_made_alike_share_a_row_of_the_lock_and_come_back_with_their_own_bytes(here):
    card, other = OUTPUT.replace("safetensors", "json"), OUTPUT.replace("seed0", "seed1")
    made = {OUTPUT: record(here)}
    for output, changes in ((card, {}), (other, {"params": ["seed 1"]})):
        path = here.parents[5] / output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(output)
        made[output] = record(path, **changes)
    for output, told in made.items():
        provenance.remember(output, told)
    provenance.reconcile(after_run=True)
    assert len(provenance.LOCK.read_text().splitlines()) == 2
    shutil.rmtree(".snakemake")
    assert provenance.reconcile(after_run=False) == []
    assert provenance.read_lock()[0] == made


def test_a_merge_conflict_in_the_lock_makes_its_outputs_unknown_not_the_run_fail(here):
    provenance.remember(OUTPUT, record(here))
    provenance.reconcile(after_run=True)
    (line,) = provenance.LOCK.read_text().splitlines()
    shutil.rmtree(provenance.STATE)
    provenance.LOCK.write_text(f"<<<<<<< ours\n{line}\n=======\nbroken\n>>>>>>> theirs\n")
    assert provenance.reconcile(after_run=False) == []
    provenance.LOCK.write_text("<<<<<<< ours\nbroken\n")
    assert provenance.reconcile(after_run=False) == [OUTPUT]


def test_metadata_lies_where_snakemake_looks_for_it_also_for_long_names(here):
    from snakemake.persistence.file import FilePersistence

    keeper = FilePersistence(path=None)
    for output in (OUTPUT, "results/" + "long-name/" * 30 + "file.parquet"):
        expected = keeper._record_path(keeper._metadata_path, output)
        assert provenance.metadata_path(output).absolute().as_posix() == expected


def test_of_equal_bytes_made_twice_the_lock_says_which_run_counts_and_after_a_run_snakemake_does(here):
    provenance.remember(OUTPUT, record(here))
    provenance.reconcile(after_run=True)
    provenance.remember(OUTPUT, record(here, params=["later, to the same bytes"]))
    provenance.reconcile(after_run=False)
    assert snakemake_says()["params"] == sorted(["{'epochs': 3}", "'digest'"])
    path = provenance.metadata_path(OUTPUT)
    path.write_text(json.dumps({**snakemake_says(), "params": ["later, to the same bytes"]}))
    provenance.reconcile(after_run=True)
    assert provenance.read_lock()[0][OUTPUT]["params"] == ["later, to the same bytes"]


def test_of_equal_bytes_made_from_other_inputs_the_run_that_was_counts(here):
    provenance.remember(OUTPUT, record(here))
    provenance.reconcile(after_run=True)
    later = {**record(here)["inputs"], "another": "f" * 64}
    provenance.remember(OUTPUT, {**record(here), "inputs": later})
    checksums = {name: f"sha256:{digest}" for name, digest in later.items()}
    said = {**snakemake_says(), "input": sorted(later), "input_checksums": checksums}
    provenance.metadata_path(OUTPUT).write_text(json.dumps(said))
    provenance.reconcile(after_run=True)
    assert provenance.read_lock()[0][OUTPUT]["inputs"] == later
    provenance.reconcile(after_run=False)
    assert snakemake_says()["input_checksums"] == checksums  # and the next look does not undo it
