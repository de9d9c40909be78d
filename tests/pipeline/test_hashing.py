"""Hashes are those of the bytes, remembered only while nothing about the file has changed."""

import hashlib
import os

import pytest

from winnow.pipeline import hashing
from winnow.pipeline.hashing import HashMemory, file_sha256


@pytest.fixture
def counted(monkeypatch):
    calls = []
    monkeypatch.setattr(hashing, "file_sha256", lambda path: calls.append(path) or file_sha256(path))
    return calls


def test_the_hash_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1_000_003)
    assert file_sha256(path) == file_sha256(str(path)) == hashlib.sha256(b"x" * 1_000_003).hexdigest()


def test_what_is_known_is_not_read_again_in_this_run_or_the_next(tmp_path, counted):
    path, store = tmp_path / "a", tmp_path / "deep" / "hashes.json"
    path.write_bytes(b"one")
    memory = HashMemory(store)
    assert memory.sha256(path) == memory.sha256(path) == hashlib.sha256(b"one").hexdigest()
    memory.save()
    assert [entry.name for entry in store.parent.iterdir()] == ["hashes.json"]
    assert HashMemory(store).sha256(path) == hashlib.sha256(b"one").hexdigest() and len(counted) == 1


def test_other_bytes_are_seen_though_size_and_time_of_change_are_put_back(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    memory = HashMemory(tmp_path / "hashes.json")
    memory.sha256(path)
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert memory.sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_nothing_new_writes_nothing_and_a_damaged_memory_is_an_empty_one(tmp_path):
    store = tmp_path / "hashes.json"
    HashMemory(store).save()
    assert not store.exists()
    store.write_text("{")
    assert HashMemory(store).known == {}
