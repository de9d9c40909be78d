"""From a verified archive to the raw table, losslessly: one row per record, in the archive's order."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv

from winnow.errors import InputError
from winnow.pipeline._unpack import gunzip, read_members
from winnow.pipeline.acquire import Source, TableFile, TablePin, acquire, find_source
from winnow.workloads.image_tables import raw_image_table
from winnow.workloads.table_columns import raw_table
from winnow.workloads.table_files import parse_csv, paste
from winnow.workloads.text_tables import concat_text_tables, raw_text_table

if TYPE_CHECKING:
    from winnow.workloads.side_scan import Pings

IDX_FILES = {"train": "train", "test": "t10k"}
IDX_UNSIGNED_BYTE = 8


def mnist_csv(members: dict[str, bytes], source_id: str, classes: tuple[str, ...], largest: int = 255) -> pa.Table:
    """Raw table of one gzipped csv without header: the pixels of a square grey image, then its label.

    largest: the value of a white pixel, 1 to 255. A value v becomes v * 255 // largest, so that white is 255 as
    everywhere else. Nothing is lost: v is the least whole number at or above pixel * largest / 255.
    Raises InputError for a row of another length, a value that is no whole number, a pixel outside 0 to
    `largest`, a label outside the classes.
    """
    (name, packed), *more = members.items()
    if more:
        raise InputError(f"{source_id}: `member` is a folder; name the csv file")
    options = pyarrow.csv.ReadOptions(autogenerate_column_names=True)
    try:
        table = pyarrow.csv.read_csv(io.BytesIO(gunzip(packed, name)), read_options=options)
        if any(column.null_count for column in table.columns):
            raise ValueError("a value is missing")
        values = np.column_stack([column.cast(pa.int64()).to_numpy() for column in table.columns])
    except (pa.ArrowException, ValueError) as error:
        raise InputError(
            f"{source_id}: {name}: {str(error).splitlines()[0]}; the archive is not as expected"
        ) from error
    pixels, labels = values[:, :-1], values[:, -1]
    side = int(np.sqrt(pixels.shape[1]))
    if side * side != pixels.shape[1]:
        raise InputError(f"{source_id}: {name}: {pixels.shape[1]} pixels a row are no square image; check the reader")
    _check_range(pixels, largest, f"{source_id}: {name}: pixel")
    _check_range(labels[:, None], len(classes) - 1, f"{source_id}: {name}: label")
    images = (pixels * 255 // largest).astype(np.uint8).reshape(-1, side, side, 1)
    return raw_image_table(images, labels, [source_id] * len(images), classes)


def _check_range(values: np.ndarray, largest: int, what: str) -> None:
    bad = np.argwhere((values < 0) | (values > largest))
    if len(bad):
        row, column = bad[0]
        raise InputError(f"{what} {values[row, column]} in row {row}; it must lie between 0 and {largest}")


def parse_idx(data: bytes, name: str) -> np.ndarray:
    """uint8 array of an IDX file: two zero bytes, type 8, the number of axes, their big-endian int32 sizes,
    the values.

    Raises InputError for another type, a short or an overlong file.
    """
    if len(data) < 4 or data[:3] != bytes([0, 0, IDX_UNSIGNED_BYTE]):
        raise InputError(f"{name}: not an IDX file of unsigned bytes (it starts with {data[:4].hex()!r})")
    start = 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, min(start, len(data)), 4))
    expected = start + int(np.prod(shape, dtype=object))
    if len(data) != expected:
        raise InputError(f"{name}: {len(data)} bytes where its header promises {expected}; the file is damaged")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def idx(members: dict[str, bytes], source_id: str, classes: tuple[str, ...]) -> pa.Table:
    """Raw table of the four gzipped IDX files of an MNIST-like set, training images first, with their
    `split`.

    Raises InputError for a missing or damaged file, for images and labels that differ in number, for a label
    outside the classes.
    """
    by_name = {Path(name).name: data for name, data in members.items()}
    images, labels, splits = [], [], []
    for split, stem in IDX_FILES.items():
        parts = []
        for name in (f"{stem}-images-idx3-ubyte.gz", f"{stem}-labels-idx1-ubyte.gz"):
            if name not in by_name:
                raise InputError(f"{source_id}: no file {name} in the archive; correct `member`")
            parts.append(parse_idx(gunzip(by_name[name], name), f"{source_id}: {name}"))
        if parts[0].ndim != 3 or parts[1].shape != parts[0].shape[:1]:
            shapes = f"{parts[0].shape} and {parts[1].shape}"
            raise InputError(
                f"{source_id}: {split} images and labels have shapes {shapes}; they do not belong together"
            )
        _check_range(parts[1][:, None], len(classes) - 1, f"{source_id}: {split} label")
        images.append(parts[0])
        labels.append(parts[1])
        splits += [split] * len(parts[1])
    if images[0].shape[1:] != images[1].shape[1:]:
        raise InputError(f"{source_id}: train and test images differ in size: {images[0].shape} and {images[1].shape}")
    stacked = np.concatenate(images)[..., None]
    return raw_image_table(stacked, np.concatenate(labels), [source_id] * len(splits), classes, splits=splits)


def _rows(data: bytes, file: TableFile, pin: TablePin, used: int, source_id: str) -> pa.Table:
    """The table of one text file, gzipped or not; used: how many of the pin's names other files took."""
    text = gunzip(data, file.name) if file.name.endswith(".gz") else data
    if pin.separator == ",":
        text = re.sub(rb"[ \t]*,[ \t]*", b",", text)
    names = None
    if not pin.header:
        lines = text.splitlines()[file.skip : file.skip + 1]
        count = lines[0].count(pin.separator.encode()) + 1 if lines else 0
        names = (pin.names or (*(f"x{i + 1}" for i in range(count - 1)), pin.target))[used : used + count]
    texts = [name for name, kind in pin.columns.items() if kind != "numeric" and (names is None or name in names)]
    where = f"{source_id}: {file.name}"
    return parse_csv(text, where, separator=pin.separator, names=names, skip=file.skip, texts=texts)


def table(members: dict[str, bytes], source_id: str, pin: TablePin) -> pa.Table:
    """Raw table of one or several text files of rows, gzipped or not; see `raw_table`.

    Without a header, and where the pin names none, columns are x1, x2, ... and the last is the pin's target. Several
    files lie one under the other, each perhaps a published split, or side by side.
    Raises InputError for a file that is not there, for rows of another length, and what `raw_table` raises.
    """
    by_name = {Path(name).name: data for name, data in members.items()}
    if len(by_name) > 1 and not pin.files:
        raise InputError(f"{source_id}: `member` is a folder; name its `files`")
    files = pin.files or [TableFile(name=name, skip=pin.skip) for name in by_name]
    parts: dict[str, pa.Table] = {}
    for file in files:
        if file.name not in by_name:
            raise InputError(f"{source_id}: no file {file.name} in the archive; correct `member`")
        used = sum(part.num_columns for part in parts.values()) if pin.side_by_side else 0
        parts[file.name] = _rows(by_name[file.name], file, pin, used, source_id)
    first, *others = parts.values()
    joined = first
    if others:
        joined = paste(parts, source_id) if pin.side_by_side else pa.concat_tables(parts.values())
    told = [file.split or "" for file in files for _ in range(parts[file.name].num_rows)]
    settings = pin.model_dump(include={"target", "task", "features", "columns", "classes", "units"})
    return raw_table(joined, source=source_id, splits=told if all(told) else None, where=source_id, **settings)


BEAMS = {"port": "B002.SON", "starboard": "B003.SON"}
"""Files of the two beams that look sideways, as Humminbird names them."""


def humminbird(members: dict[str, bytes], source_id: str) -> dict[str, Pings]:
    """The pings of both sides; InputError where a file is missing or damaged."""
    from winnow.workloads.side_scan import read_pings  # brings scipy, which no other reader needs

    by_name = {Path(name).name: data for name, data in members.items()}
    for name in BEAMS.values():
        if name not in by_name:
            raise InputError(f"{source_id}: no file {name} in the archive; correct `member`")
    return {beam: read_pings(by_name[name], f"{source_id}: {name}") for beam, name in BEAMS.items()}


def side_scan(members: dict[str, bytes], source_id: str) -> pa.Table:
    """Raw table of patches of real side-scan sonar, labelled by a rule."""
    from winnow.workloads.side_scan import side_scan

    return side_scan(humminbird(members, source_id), source_id)


def sonar_scenes(members: dict[str, bytes], source_id: str) -> pa.Table:
    """Raw table of simulated side-scan sonar, calibrated by real pings."""
    from winnow.workloads.sonar_calibration import calibrate
    from winnow.workloads.sonar_scenes import sonar_scenes

    return sonar_scenes(calibrate(humminbird(members, source_id)), source_id)


READERS: dict[str, Callable[[dict[str, bytes], str, Source], pa.Table]] = {
    "mnist_csv": lambda members, source_id, source: mnist_csv(members, source_id, source.classes, source.largest),
    "idx": lambda members, source_id, source: idx(members, source_id, source.classes),
    "table": lambda members, source_id, source: table(members, source_id, source.table or TablePin()),
    "side_scan": lambda members, source_id, source: side_scan(members, source_id),
    "source_files": lambda members, source_id, source: raw_text_table(
        members, source_id, source.package, source.licence
    ),
    "sonar_scenes": lambda members, source_id, source: sonar_scenes(members, source_id),
}


def read_archive(archive: Path, source_id: str, source: Source) -> pa.Table:
    """Raw table of a verified archive, by the reader that its pin names."""
    return READERS[source.reader](read_members(archive, source.member), source_id, source)


def read_source(source_id: str, sources_path: Path | str, cache_dir: Path | str | None = None) -> pa.Table:
    """Raw table of a pinned source: acquired, verified, read, as `raw_image_table` or `raw_table` makes it.

    Errors are those of `acquire` and of the reader, all InputError.
    """
    archive = acquire(source_id, sources_path, cache_dir)
    return read_archive(archive, source_id, find_source(source_id, sources_path))


def read_interactions(
    source_id: str, sources_path: Path | str, cache_dir: Path | str | None = None
) -> tuple[pa.Table, pa.Table]:
    """Raw tables of the events of a pinned source and of its items; errors are those of `acquire` and of the reader."""
    from winnow.workloads.recbole_files import atomic_files

    archive, source = acquire(source_id, sources_path, cache_dir), find_source(source_id, sources_path)
    return atomic_files(read_members(archive, source.member), source_id)


def read_text_sources(
    source_ids: list[str], sources_path: Path | str, progress: Callable[[int, int], None] | None = None
) -> pa.Table:
    """Raw table of the files of several pinned archives, one after another; errors are those of `read_source`."""
    tables = []
    for done, source_id in enumerate(source_ids):
        tables.append(read_source(source_id, sources_path))
        if progress:
            progress(done + 1, len(source_ids))
    return concat_text_tables(tables)
