"""The table in which files of text travel, and a folder of one's own as such a table.

corpus/<project>/**/*.py       one project for each sub-folder; files beside them belong to none

Files of prose and of other languages are read alike, by their suffix.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path, PurePosixPath

import pyarrow as pa

from winnow.errors import InputError
from winnow.workloads.image_tables import METADATA_KEY

LANGUAGES = {
    **dict.fromkeys((".txt", ".text"), "text"),
    **dict.fromkeys((".md", ".markdown"), "markdown"),
    ".rst": "restructuredtext",
    ".tex": "tex",
    ".py": "python",
    **dict.fromkeys((".c", ".h"), "c"),
    **dict.fromkeys((".cc", ".cpp", ".cxx", ".hh", ".hpp"), "c++"),
    ".cs": "c#",
    ".css": "css",
    **dict.fromkeys((".f", ".f90"), "fortran"),
    ".go": "go",
    ".hs": "haskell",
    ".java": "java",
    **dict.fromkeys((".js", ".jsx", ".mjs"), "javascript"),
    ".jl": "julia",
    ".kt": "kotlin",
    ".lua": "lua",
    ".php": "php",
    ".pl": "perl",
    ".r": "r",
    ".rb": "ruby",
    ".rs": "rust",
    ".scala": "scala",
    ".sh": "shell",
    ".sql": "sql",
    ".swift": "swift",
    **dict.fromkeys((".ts", ".tsx"), "typescript"),
}
"""Suffix of a file, in small letters, and the language that is told of it; files of other suffixes are not read."""
LARGEST_FILE = 1 << 23
"""Bytes beyond which a file is not read as text: 8 MB, as OpenCoder (Huang et al., 2024) sets it."""
RAW = pa.schema(
    {
        "row": pa.int64(),
        "source": pa.string(),
        "package": pa.string(),
        "path": pa.string(),
        "licence": pa.string(),
        "text": pa.large_string(),
        "bytes": pa.int64(),
        "sha256": pa.string(),
    }
)
"""Columns of a raw table of files: text is null where the bytes are not UTF-8 or too many."""


def language_of(path: str) -> str | None:
    """The language of a file by its suffix, of LANGUAGES; None for any other."""
    return LANGUAGES.get(PurePosixPath(path).suffix.lower())


@dataclass(frozen=True)
class TextMeta:
    """What the documents of a curated table have in common."""

    vocabulary: int
    context: int
    """Tokens of a window that a model is trained on."""
    workload: str = ""

    def encode(self) -> dict[str, str]:
        """Parquet metadata, as `write_parquet` takes it."""
        return {METADATA_KEY.decode(): json.dumps({**vars(self), "kind": "text"}, sort_keys=True, ensure_ascii=False)}


def text_meta(table: pa.Table, name: str) -> TextMeta:
    """The metadata of a curated table of documents; absent or foreign metadata is an InputError that names `name`."""
    try:
        fields = json.loads((table.schema.metadata or {})[METADATA_KEY])
        if fields.pop("kind") != "text":
            raise ValueError("its kind is another")
        return TextMeta(**fields)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{name}: is no table of curated documents ({error}); run the curate stage again") from error


def _row(name: str, content: bytes, **told: str) -> dict[str, object]:
    try:
        text = content.decode("utf-8-sig") if len(content) <= LARGEST_FILE else None
    except UnicodeDecodeError:
        text = None
    return {**told, "path": name, "text": text, "bytes": len(content), "sha256": sha256(content).hexdigest()}


def raw_text_table(files: Mapping[str, bytes], source: str, package: str, licence: str) -> pa.Table:
    """Raw table of the Python files of one package, in the order of their paths, each with its digest.

    A byte order mark is no part of the text. Raises InputError where there is no such file.
    """
    told = {"source": source, "package": package, "licence": licence}
    rows = [_row(name, files[name], **told) for name in sorted(files) if language_of(name) == "python"]
    if not rows:
        raise InputError(f"{source}: holds no file that ends in .py; correct `member`")
    return _numbered(pa.Table.from_pylist([{"row": 0, **row} for row in rows], RAW))


def _numbered(table: pa.Table) -> pa.Table:
    return table.set_column(0, "row", pa.array(range(table.num_rows), pa.int64()))


def concat_text_tables(tables: list[pa.Table]) -> pa.Table:
    """Raw tables one under the other, rows numbered through."""
    return _numbered(pa.concat_tables(tables).combine_chunks())


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Path below the folder and the file, in order; hidden files and links that lead outside are left out."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; correct `path`")
    found = []
    for parent, folders, names in os.walk(root, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if language_of(name) and not name.startswith(".")]
    for path in sorted(found, key=os.fsencode):
        if path.is_file() and path.resolve().is_relative_to(root.resolve()):
            yield os.fsencode(path.relative_to(root)).decode("utf-8", "replace"), path


def read_text_folder(path: Path | str) -> pa.Table:
    """Raw table of the files of a folder of one's own; the package of a file is its top folder, the licence unknown.

    Raises InputError for a folder that is not there or holds no file with a known suffix.
    """
    root = Path(path)
    rows = []
    for name, file in _files(root):
        package = name.split("/")[0] if "/" in name else ""
        rows.append({"row": 0, **_row(name, file.read_bytes(), source=str(path), package=package, licence="")})
    if not rows:
        raise InputError(f"{root}: holds no file that ends in {', '.join(LANGUAGES)}; correct `path`")
    return _numbered(pa.Table.from_pylist(rows, RAW))


def text_folder_digest(path: Path | str) -> str:
    """Hex digest of all that `read_text_folder` depends on: paths and content of the files."""
    digest = blake2b(digest_size=16)
    for name, file in _files(Path(path)):
        content = file.read_bytes()
        digest.update(f"{len(name)} {name} {len(content)} ".encode() + content)
    return digest.hexdigest()
