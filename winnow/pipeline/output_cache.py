"""Outputs made before, found again by what made them: a parameter switched back costs a copy.

The key is made of content (code digest, parameters, bytes of the inputs, platform), so a job whose inputs were made
again with the same bytes is not computed again either, which Snakemake alone would do.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from winnow.pipeline.hashing import file_sha256

FOLDER = Path(".snakemake/winnow/cache")
LIMIT_BYTES = 4 << 30


def enabled() -> bool:
    """WINNOW_CACHE=off in the environment makes every job compute."""
    return os.environ.get("WINNOW_CACHE", "on") != "off"


def folder() -> Path:
    """Where outputs are kept; an experiment that DVC runs in a folder of its own, under .dvc, shares its checkout's."""
    here = Path.cwd()
    return next((parent.parent for parent in here.parents if parent.name == ".dvc"), here) / FOLDER


def cache_key(description: Mapping[str, Any]) -> str:
    """A name for all that decides a job's outputs; description must be JSON."""
    return blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=20).hexdigest()


def restore(key: str, outputs: Mapping[str, Path]) -> bool:
    """Copy all outputs of a job made before to the given paths; False where they are absent or damaged."""
    entry = folder() / key
    try:
        digests: dict[str, str] = json.loads((entry / "digests.json").read_text())
        if set(digests) != set(outputs):
            return False
        for name, path in outputs.items():
            shutil.copyfile(entry / name, path)
            if file_sha256(path) != digests[name]:
                return False
    except (OSError, ValueError):
        return False
    os.utime(entry)  # recently used entries are evicted last
    return True


def store(key: str, outputs: Mapping[str, Path], digests: Mapping[str, str]) -> None:
    """Keep a job's outputs; a full disk or a second writer only means that nothing is kept."""
    entry, building = folder() / key, folder() / f".{key}.{os.getpid()}"
    try:
        building.mkdir(parents=True)
        for name, path in outputs.items():
            shutil.copyfile(path, building / name)
        (building / "digests.json").write_text(json.dumps(dict(digests)))
        building.rename(entry)
    except OSError:
        shutil.rmtree(building, ignore_errors=True)


def evict(limit: int = LIMIT_BYTES) -> None:
    """Drop the entries unused for longest until the cache is within its limit."""
    if not folder().is_dir():
        return
    entries = sorted((e for e in folder().iterdir() if e.is_dir()), key=lambda e: e.stat().st_mtime, reverse=True)
    total = 0
    for entry in entries:
        total += sum(file.stat().st_size for file in entry.iterdir())
        if total > limit:
            shutil.rmtree(entry, ignore_errors=True)
