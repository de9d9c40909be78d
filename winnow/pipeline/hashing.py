"""Content hashes of files, remembered by what stat says of them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


def file_sha256(path: Path | str) -> str:
    """sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class HashMemory:
    """sha256 of files, computed again only when size, mtime, ctime or inode changed.

    ctime is part of the key: a program can set mtime back after writing other bytes, but not ctime.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.known: dict[str, list] = json.loads(path.read_text())
        except (OSError, ValueError):
            self.known = {}
        self.changed = False

    def sha256(self, path: Path) -> str:
        """sha256 of a file's bytes, in hex."""
        status = path.stat()
        key = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        entry = self.known.get(str(path))
        if entry is None or entry[0] != key:
            self.known[str(path)] = entry = [key, file_sha256(path)]
            self.changed = True
        return str(entry[1])

    def save(self) -> None:
        """Write what was learnt, whole or not at all."""
        if self.changed:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            temporary.write_text(json.dumps(self.known))
            temporary.replace(self.path)
