"""Reading members of an archive without trusting it: nothing is written, followed or expanded beyond a limit.

Archives are wheels (zip) and Debian packages (ar holding a compressed tar; deb(5)). Only the members asked
for are read, and into memory, so a hostile name can reach no file; it is refused all the same.
"""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from winnow.errors import InputError

MAX_BYTES = 1 << 30
"""Most bytes that one archive's wanted members may expand to."""

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)
AR_MAGIC = b"!<arch>\n"
AR_HEADER = 60
GZIP_MAGIC = b"\x1f\x8b"
Opener = Callable[[IO[bytes]], Any]
Entry = tuple[str, bool, int, Callable[[], bytes]]  # name, is a plain file, size, reader


def inflate(data: bytes, opener: Opener, name: str, limit: int = MAX_BYTES) -> bytes:
    """Decompress at most `limit` bytes; more, or a broken stream, is an InputError naming `name`."""
    try:
        with opener(io.BytesIO(data)) as stream:
            result = stream.read(limit + 1)
    except BROKEN as error:
        raise InputError(f"{name}: cannot be decompressed ({error}); delete the archive and run again") from error
    if len(result) > limit:
        raise InputError(f"{name}: expands to more than {limit} bytes; the archive is not what it should be")
    return result


def gunzip(data: bytes, name: str, limit: int = MAX_BYTES) -> bytes:
    """The content of a gzip file, bounded."""
    return inflate(data, lambda stream: gzip.GzipFile(fileobj=stream), name, limit)


def _safe_name(name: str, archive: Path) -> str:
    path = PurePosixPath(name)
    hostile = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or name[1:2] == ":"
    if hostile:
        raise InputError(f"{archive}: holds the unsafe path {name!r}; do not use this archive")
    return str(path)


def _zip_entries(archive: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            plain = not info.is_dir() and (stat.S_IFMT(mode) in (0, stat.S_IFREG))
            if not info.is_dir():
                yield info.filename, plain, info.file_size, lambda info=info: file.read(info)  # type: ignore[misc]


def _ar_member(data: bytes, prefix: str, archive: Path) -> tuple[str, bytes]:
    at = len(AR_MAGIC)
    while at + AR_HEADER <= len(data):
        header = data[at : at + AR_HEADER]
        name, size = header[:16].decode("ascii", "replace").rstrip(" /"), int(header[48:58])
        start = at + AR_HEADER
        if name.startswith(prefix):
            if size < 0 or start + size > len(data):
                raise InputError(f"{archive}: is truncated; delete it and run again")
            return name, data[start : start + size]
        at = start + max(size, 0) + size % 2
    raise InputError(f"{archive}: holds no {prefix}*; it is not a Debian package")


def _deb_entries(archive: Path, limit: int) -> Iterator[Entry]:
    name, packed = _ar_member(archive.read_bytes(), "data.tar", archive)
    openers: dict[str, Opener] = {
        ".xz": lzma.open,
        ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
        ".tar": lambda stream: stream,
    }
    opener = openers.get(Path(name).suffix)
    if opener is None:
        raise InputError(f"{archive}: {name} is packed in a way this reader does not know; xz, gz and tar are read")
    yield from _tar_entries(inflate(packed, opener, f"{archive}: {name}", limit))


def _tar_entries(content: bytes) -> Iterator[Entry]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as file:
        for info in file:
            if not info.isdir():
                plain = info.isreg() and not info.issparse()
                yield info.name, plain, info.size, lambda info=info: file.extractfile(info).read()  # type: ignore


def _entries(archive: Path, limit: int) -> Iterator[Entry]:
    with archive.open("rb") as file:
        magic = file.read(len(AR_MAGIC))
    if magic.startswith(GZIP_MAGIC):
        return _tar_entries(gunzip(archive.read_bytes(), str(archive), limit))
    return _deb_entries(archive, limit) if magic == AR_MAGIC else _zip_entries(archive)


def _collect(archive: Path, wanted: str, limit: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    total = 0
    for raw_name, plain, size, read in _entries(archive, limit):
        name = _safe_name(raw_name, archive)
        if wanted not in (".", name) and not name.startswith(wanted + "/"):
            continue
        if not plain:
            raise InputError(f"{archive}: {name} is a link or a device, not a file; do not use this archive")
        if name in found:
            raise InputError(f"{archive}: holds {name} twice; do not use this archive")
        total += size
        if total > limit:
            raise InputError(f"{archive}: {wanted} expands to more than {limit} bytes; do not use this archive")
        found[name] = read()
    return found


def read_members(archive: Path, wanted: str, limit: int = MAX_BYTES) -> dict[str, bytes]:
    """Content of the file `wanted`, or of all files below the folder `wanted`, by name inside the archive; "." is all.

    limit: most bytes that they may expand to. Raises InputError for an archive that is corrupt, truncated, or
    holds an absolute or climbing path anywhere, and for a wanted member that is absent, a link, a device, or
    too large.
    """
    wanted = _safe_name(wanted, archive)
    try:
        found = _collect(archive, wanted, limit)
    except InputError:
        raise
    except (*BROKEN, ValueError, RuntimeError) as error:
        raise InputError(f"{archive}: not a readable archive ({error}); delete it and run again") from error
    if not found:
        raise InputError(f"{archive}: holds no {wanted!r}; correct `member` in the sources file")
    return dict(sorted(found.items()))
