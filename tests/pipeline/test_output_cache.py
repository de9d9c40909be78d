"""Outputs are restored by what made them, and never damaged."""

import json
import os

import pytest

from winnow.pipeline import output_cache
from winnow.pipeline.hashing import HashMemory, file_sha256


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b").write_bytes(b"second")
    outputs = {"one": tmp_path / "a", "two": tmp_path / "b"}
    output_cache.store("key", outputs, {name: file_sha256(path) for name, path in outputs.items()})
    return tmp_path


def targets(folder):
    return {"one": folder / "restored-a", "two": folder / "restored-b"}


def test_what_was_stored_comes_back(kept):
    assert output_cache.restore("key", targets(kept))
    assert [path.read_bytes() for path in targets(kept).values()] == [b"first", b"second"]


def test_an_unknown_key_other_outputs_and_damaged_bytes_are_refused(kept):
    assert not output_cache.restore("other", targets(kept))
    assert not output_cache.restore("key", {"one": kept / "x"})
    (kept / output_cache.FOLDER / "key" / "two").write_bytes(b"SECOND")
    assert not output_cache.restore("key", targets(kept))


def test_an_experiment_of_dvc_shares_what_its_checkout_keeps(kept, monkeypatch):
    elsewhere = kept / ".dvc/tmp/exps/standalone/run"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert output_cache.restore("key", targets(elsewhere))


def test_the_key_depends_on_every_part_and_not_on_order():
    base = {"rule": "a", "params": ["1"], "inputs": {"x": "0", "y": "1"}}
    same = dict(reversed(base.items()))
    others = [{**base, "rule": "b"}, {**base, "params": ["2"]}, {**base, "inputs": {"x": "1", "y": "0"}}]
    keys = {output_cache.cache_key(value) for value in (base, same, *others)}
    assert len(keys) == 4


def test_entries_unused_for_longest_go_first(kept):
    for number in range(3):
        output_cache.store(f"k{number}", {"one": kept / "a"}, {"one": file_sha256(kept / "a")})
        os.utime(kept / output_cache.FOLDER / f"k{number}", (number, number))
    size = len(b"first") + len(json.dumps({"one": file_sha256(kept / "a")}))
    os.utime(kept / output_cache.FOLDER / "key", (0, 0))
    output_cache.evict(limit=2 * size)
    assert sorted(p.name for p in (kept / output_cache.FOLDER).iterdir()) == ["k1", "k2"]


def test_the_cache_can_be_switched_off(monkeypatch):
    assert output_cache.enabled()
    monkeypatch.setenv("WINNOW_CACHE", "off")
    assert not output_cache.enabled()


def test_a_hash_is_computed_again_only_when_the_file_changed(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    memory = HashMemory(tmp_path / "memory.json")
    first = memory.sha256(path)
    memory.save()
    memory = HashMemory(tmp_path / "memory.json")
    monkeypatch.setattr("winnow.pipeline.hashing.file_sha256", lambda path: "computed")
    assert memory.sha256(path) == first
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert memory.sha256(path) == "computed"


def test_a_damaged_memory_is_forgotten(tmp_path):
    (tmp_path / "memory.json").write_text("{")
    assert HashMemory(tmp_path / "memory.json").known == {}
