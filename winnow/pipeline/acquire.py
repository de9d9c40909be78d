"""Getting pinned archives: by pip or apt, verified by sha256, kept in a cache addressed by content.

Nothing is installed and nothing is unpacked before its digest is right. An archive appears in the cache whole
or not at all, so a run that was cut off leaves nothing to mistake for data; a second checkout works without a
network.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from winnow.errors import InputError

log = logging.getLogger(__name__)
BUILD_PIN = r"^[A-Za-z0-9][\w.-]*==[A-Za-z0-9][\w.]* --hash=sha256:[0-9a-f]{64}$"
HOLDS = {
    "mnist_csv": "images",
    "idx": "images",
    "side_scan": "images",
    "sonar_scenes": "images",
    "table": "table",
    "source_files": "text",
    "recbole": "interactions",
    "torch_state": "weights",
    "gguf": "weights",
}
"""Reader -> the kind of workload that it makes, or weights."""
TIMEOUT = 1800
"""Seconds that one download may take."""


class TableFile(BaseModel):
    """One of several files that make a table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    split: Literal["train", "valid", "test"] | None = None
    skip: int = Field(0, ge=0)


class TablePin(BaseModel):
    """How the rows and columns of a pinned table are to be read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str = "class"
    task: Literal["classification", "regression"] = "classification"
    separator: str = Field(",", min_length=1, max_length=1)
    header: bool = False
    skip: int = Field(0, ge=0)
    names: tuple[str, ...] | None = None
    files: tuple[TableFile, ...] = ()
    side_by_side: bool = False
    features: tuple[str, ...] | None = None
    columns: dict[str, Literal["numeric", "category"] | list[str]] = {}
    classes: dict[str, str] = {}
    units: dict[str, str] = {}


class Source(BaseModel):
    """One pinned archive of data/sources.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["pip", "sdist", "apt", "folder"]
    package: str = Field(pattern=r"^[A-Za-z0-9]\S*$")
    version: str = Field(pattern=r"^[A-Za-z0-9]\S*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    member: str = Field(min_length=1)
    reader: Literal[
        "mnist_csv", "idx", "table", "torch_state", "gguf", "side_scan", "sonar_scenes", "source_files", "recbole"
    ]
    build: tuple[Annotated[str, Field(pattern=BUILD_PIN)], ...] = ()
    largest: int = Field(255, ge=1, le=255)
    classes: tuple[str, ...] = ()
    table: TablePin | None = None
    licence: str = Field(min_length=1)
    redistribute: bool
    citation: str = Field(min_length=1)

    @model_validator(mode="after")
    def _largest_is_read(self) -> Source:
        if self.largest != 255 and self.reader != "mnist_csv":
            raise ValueError(f"largest belongs to reader mnist_csv, and the reader is {self.reader}")
        return self

    @model_validator(mode="after")
    def _build_is_used(self) -> Source:
        if self.build and self.kind != "sdist":
            raise ValueError(f"build belongs to kind sdist, and the kind is {self.kind}")
        return self

    @model_validator(mode="after")
    def _classes_are_read(self) -> Source:
        images = self.reader in ("mnist_csv", "idx")
        if (self.reader == "table") != (self.table is not None):
            raise ValueError(f"a section table belongs to reader table and to no other; the reader is {self.reader}")
        if self.classes and not images:
            raise ValueError(f"classes belong to images, and the reader is {self.reader}; leave them out")
        if images and len(self.classes) < 2:
            raise ValueError(f"classes has {len(self.classes)}; name two or more")
        return self


def load_sources(path: Path | str) -> dict[str, Source]:
    """All pins of a sources file by id; a bad file or field is an InputError that names it."""
    try:
        content: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())}); restore the file") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no sources; write one section per source id")
    sources = {}
    for source_id, fields in content.items():
        try:
            sources[str(source_id)] = Source.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (source_id, *first["loc"])))
            raise InputError(f"{path}: {where}: {first['msg']}; correct the pin") from None
    return sources


def find_source(source_id: str, sources_path: Path | str) -> Source:
    """The pin of one source; an unknown id is an InputError that lists the known ones."""
    sources = load_sources(sources_path)
    if source_id not in sources:
        known = ", ".join(sorted(sources))
        raise InputError(f"{sources_path}: no source {source_id!r}; known are {known}")
    return sources[source_id]


def sources_table(source_ids: list[str], sources_path: Path | str) -> pa.Table:
    """Table `source, licence, redistribute, citation, sha256` of the given sources, sorted by id."""
    pins = [(source_id, find_source(source_id, sources_path)) for source_id in sorted(set(source_ids))]
    columns = {"source": pa.array([source_id for source_id, _ in pins], pa.string())}
    for name in ("licence", "redistribute", "citation", "sha256"):
        columns[name] = pa.array(
            [getattr(pin, name) for _, pin in pins], pa.bool_() if name == "redistribute" else pa.string()
        )
    return pa.table(columns)


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/winnow`, by default `~/.cache/winnow`: shared by all checkouts of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "winnow"


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content, read in pieces."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel drops when the process dies: jobs side by side download an archive once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 1, f"no answer in {TIMEOUT} seconds"
    return done.returncode, done.stdout


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR", "E:"))]
    return (errors or lines or ["no message"])[-1][:300]


def _fetch_pip(source_id: str, source: Source, folder: Path) -> None:
    pin = f"{source.package}=={source.version} --hash=sha256:{source.sha256}"
    if source.kind == "pip":
        code, output = _pip("download", [pin], folder, "--only-binary=:all:")
    else:
        code, output = _fetch_sdist(source, pin, folder)
    if code and "DO NOT MATCH THE HASHES" in output:
        raise InputError(
            f"{source_id}: the index offers {source.package}=={source.version} with another sha256 than the "
            f"pinned {source.sha256[:12]}...; do not use it, ask where the file was changed"
        )
    if code:
        raise InputError(
            f"{source_id}: pip could not download {source.package}=={source.version} "
            f"({_last_error(output)}); check the network and pip's index, then run again"
        )


def _pip(command: str, pins: list[str], folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    """Run `pip download` or `pip install` on pinned requirements, into a folder."""
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(pins) + "\n")
    into = {"download": "--dest", "install": "--target"}[command]
    pip = [sys.executable, "-m", "pip", command, "--no-deps", "--require-hashes", *options]
    found = _run([*pip, "-r", str(requirements), into, str(folder)], environment=environment)
    requirements.unlink()
    return found


def _fetch_sdist(source: Source, pin: str, folder: Path) -> tuple[int, str]:
    """pip asks an sdist for its metadata, which runs its setup.py, after its sha256 was found right.

    What that imports beyond this environment is installed, pinned, into a folder that is thrown away.
    """
    if not source.build:
        return _pip("download", [pin], folder, "--no-binary=:all:")
    with tempfile.TemporaryDirectory() as tools:
        code, output = _pip("install", list(source.build), Path(tools), "--only-binary=:all:", "--platform=any")
        if code:
            return code, output
        options = ("--no-binary=:all:", "--no-build-isolation")
        return _pip("download", [pin], folder, *options, PYTHONPATH=tools)


def _fetch_apt(source_id: str, source: Source, folder: Path) -> None:
    wanted = f"{source.package}={source.version}"
    remains = "get the .deb elsewhere and pin it as kind folder, or use a source of kind pip, such as mnist_5k"
    if shutil.which("apt-get") is None:
        raise InputError(f"{source_id}: {wanted} is a Debian package and apt-get is not on this machine; {remains}")
    code, output = _run(["apt-get", "download", wanted], folder)
    if code and "was not found" in output:
        raise InputError(f"{source_id}: this machine's apt no longer offers {wanted}; run apt-get update, or {remains}")
    if code:
        raise InputError(f"{source_id}: apt-get could not download {wanted} ({_last_error(output)}); {remains}")


def _fetch_folder(source_id: str, source: Source, folder: Path, sources_path: Path) -> None:
    path = sources_path.parent / source.package
    if not path.is_file():
        raise InputError(f"{source_id}: no file {path}; put the archive there or correct {sources_path}")
    shutil.copyfile(path, folder / path.name)


def _fetch(source_id: str, source: Source, folder: Path, sources_path: Path) -> Path:
    """Download into an empty folder and verify; the one file that arrived."""
    if source.kind in ("pip", "sdist"):
        _fetch_pip(source_id, source, folder)
    elif source.kind == "apt":
        _fetch_apt(source_id, source, folder)
    else:
        _fetch_folder(source_id, source, folder, sources_path)
    files = sorted(folder.iterdir())
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "nothing"
        raise InputError(f"{source_id}: one archive was expected and {names} arrived; run again")
    found = file_sha256(files[0])
    if found != source.sha256:
        raise InputError(
            f"{source_id}: {files[0].name} has sha256 {found}, pinned is {source.sha256}; do not use it, "
            "ask where it was changed"
        )
    return files[0]


def _cached(folder: Path, source: Source) -> Path | None:
    """The archive in its cache folder if it is still what it was."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    if len(files) == 1 and files[0].is_file() and file_sha256(files[0]) == source.sha256:
        return files[0]
    if folder.exists():
        log.warning("%s is damaged and is fetched again", folder)
        shutil.rmtree(folder)
    return None


def acquire(source_id: str, sources_path: Path | str, cache_dir: Path | str | None = None) -> Path:
    """Path of the verified archive of a source, from the cache or downloaded into it.

    cache_dir: by default `default_cache()`; the archive lies at `<cache_dir>/archives/<sha256>/<its file
    name>`. Raises InputError, naming the source, where the archive cannot be had or its sha256 is not the
    pinned one.
    """
    source = find_source(source_id, sources_path)
    archives = Path(cache_dir or default_cache()).expanduser().resolve() / "archives"
    try:
        archives.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{archives}: cannot be made ({error.strerror}); set XDG_CACHE_HOME") from error
    final, partial = archives / source.sha256, archives / f"{source.sha256}.partial"
    with _locked(archives / f"{source.sha256}.lock"):
        if (archive := _cached(final, source)) is not None:
            log.info("%s: %s is in the cache", source_id, archive.name)
            return archive
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            log.info("%s: fetching %s %s by %s", source_id, source.package, source.version, source.kind)
            archive = _fetch(source_id, source, partial, Path(sources_path))
            log.info("%s: %s verified, %.1f MB", source_id, archive.name, archive.stat().st_size / 1e6)
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return final / archive.name
