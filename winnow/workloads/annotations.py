"""What is known about an image beside its label: parts with points and masks, concepts, factors.

Annotations are columns of the image table, so they travel with their image from the raw to the curated tables:
parts    list of (part, x, y, visible, box, mask, hue, saturation, contrast, texture, shape), one for each part
concepts list of (concept, present, area, mask), one for each concept
factors  one struct of what made the picture
x runs right and y down, in pixels from the upper left corner of the image; a box is left, top, right, bottom with the
last two outside; a mask is a PNG of the image's size; area is a share of the image. What is unknown is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet
from winnow.workloads.image_tables import decode_png

PART = pa.struct(
    [
        ("part", pa.string()),
        ("x", pa.float32()),
        ("y", pa.float32()),
        ("visible", pa.bool_()),
        ("box", pa.list_(pa.int32())),
        ("mask", pa.binary()),
        ("hue", pa.float32()),
        ("saturation", pa.float32()),
        ("contrast", pa.float32()),
        ("texture", pa.string()),
        ("shape", pa.string()),
    ]
)
CONCEPT = pa.struct([("concept", pa.string()), ("present", pa.bool_()), ("area", pa.float32()), ("mask", pa.binary())])
PARTS_SEEN = pa.list_(PART)
CONCEPTS = pa.list_(CONCEPT)
FACTORS = pa.struct(
    [
        ("hue", pa.float32()),
        ("saturation", pa.float32()),
        ("contrast", pa.float32()),
        ("texture", pa.string()),
        ("shape", pa.string()),
        ("size", pa.float32()),
        ("angle", pa.float32()),
        ("background", pa.string()),
    ]
)


FILES = {"parts": (PARTS_SEEN, "part"), "concepts": (CONCEPTS, "concept")}
"""Files `<name>.parquet` that may lie in a folder of images, each a column: its type, and what names an entry."""


class PartPoints(NamedTuple):
    """names: K part names. xy float32[n, K, 2], NaN where unknown. visible bool[n, K]."""

    names: tuple[str, ...]
    xy: np.ndarray
    visible: np.ndarray


class ConceptLabels(NamedTuple):
    """names: K concept names. present bool[n, K]. area float32[n, K], a share of the image."""

    names: tuple[str, ...]
    present: np.ndarray
    area: np.ndarray


class _Flat(NamedTuple):
    """The entries of a list column: image and name of each, the names in order of first appearance."""

    values: pa.StructArray
    image: np.ndarray
    name: np.ndarray
    names: tuple[str, ...]


def _flatten(table: pa.Table, column: str, key: str) -> _Flat:
    if column not in table.schema.names:
        raise InputError(f"images have no column {column!r}; give {column}.parquet beside them, or render them")
    lists = table[column].combine_chunks()
    if isinstance(lists, pa.ChunkedArray):  # a table without rows
        lists = pa.array([], table.schema.field(column).type)
    values = lists.flatten()
    image = lists.value_parent_indices().to_numpy()
    coded = values.field(key).dictionary_encode()
    name = coded.indices.to_numpy(zero_copy_only=False)
    if coded.indices.null_count:
        raise InputError(f"column {column!r}: an entry has no {key}; name it or leave it out")
    if len(np.unique(np.stack([image, name]), axis=1).T) != len(image):
        raise InputError(f"column {column!r}: an image names one {key} twice; name it once")
    return _Flat(values, image, name, tuple(coded.dictionary.to_pylist()))


def part_points(table: pa.Table) -> PartPoints:
    """Points of all parts, in the order in which the table first names them; a part left out is not visible."""
    flat = _flatten(table, "parts", "part")
    xy = np.full((table.num_rows, len(flat.names), 2), np.nan, np.float32)
    visible = np.zeros(xy.shape[:2], bool)
    for axis, name in enumerate(("x", "y")):
        xy[flat.image, flat.name, axis] = flat.values.field(name).to_numpy(zero_copy_only=False)
    visible[flat.image, flat.name] = flat.values.field("visible").fill_null(False).to_numpy(zero_copy_only=False)
    return PartPoints(flat.names, xy, visible & np.isfinite(xy).all(axis=2))


def concept_labels(table: pa.Table, names: Sequence[str] | None = None) -> ConceptLabels:
    """Which image shows which concept, and on what share of it; one left out is absent.

    names: the concepts to give, in this order; all that the table names by default. InputError for an unknown one.
    """
    flat = _flatten(table, "concepts", "concept")
    present = np.zeros((table.num_rows, len(flat.names)), bool)
    area = np.zeros(present.shape, np.float32)
    present[flat.image, flat.name] = flat.values.field("present").fill_null(False).to_numpy(zero_copy_only=False)
    area[flat.image, flat.name] = flat.values.field("area").fill_null(0).to_numpy(zero_copy_only=False)
    chosen = flat.names if names is None else tuple(names)
    unknown = [name for name in chosen if name not in flat.names]
    if unknown:
        raise InputError(f"column 'concepts' names no {unknown[0]!r}; it has {', '.join(flat.names[:8])} and so on")
    order = [flat.names.index(name) for name in chosen]
    return ConceptLabels(chosen, present[:, order], area[:, order])


def masks(table: pa.Table, column: str, names: Sequence[str], side: tuple[int, int]) -> np.ndarray:
    """bool[n, K, height, width] of the named parts or concepts; nothing where there is no mask.

    column: parts or concepts. Raises InputError for a mask of another size than the image.
    """
    flat = _flatten(table, column, {"parts": "part", "concepts": "concept"}[column])
    found = np.zeros((table.num_rows, len(names), *side), bool)
    place = {flat.names.index(name): i for i, name in enumerate(names) if name in flat.names}
    data = flat.values.field("mask").to_pylist()
    for image, name, png in zip(flat.image.tolist(), flat.name.tolist(), data, strict=True):
        if png is None or name not in place:
            continue
        mask = decode_png(png)
        if mask.ndim == 3:
            mask = np.asarray(mask.any(axis=2))
        if mask.shape != tuple(side):
            raise InputError(f"column {column!r}: a mask is {mask.shape}, its image {tuple(side)}; make them one size")
        found[image, place[name]] = mask
    return found


def read_annotations(folder: Path, images: Sequence[str]) -> dict[str, pa.Array]:
    """Columns parts and concepts of images from parts.parquet and concepts.parquet in a folder, where they exist.

    images: the path of each image below the folder. A file has a column `image` with such paths, then the fields of an
    entry, of which only the name is needed: one row for each part or concept of each image. Entries are sorted by
    name. Raises InputError for a field that is unknown or of another type, and for images that do not exist, five
    of them listed.
    """
    found = {}
    for name, (kind, key) in FILES.items():
        path = folder / f"{name}.parquet"
        if path.is_file():
            found[name] = _read_entries(path, kind, key, images)
    return found


def _read_entries(path: Path, kind: pa.ListType, key: str, images: Sequence[str]) -> pa.Array:
    table = read_parquet(path, None)
    fields = {field.name: field.type for field in kind.value_type}
    for name in ("image", key):
        if name not in table.schema.names or table[name].null_count:
            raise InputError(f"{path}: column {name!r} is absent or has nulls; give it for every row")
    unknown = [name for name in table.schema.names if name not in {"image", *fields}]
    if unknown:
        raise InputError(f"{path}: unknown column {unknown[0]!r}; it can have image, {', '.join(fields)}")
    place = pc.index_in(table["image"].cast(pa.string()), pa.array(images, pa.string()))
    if place.null_count:
        lost = pc.unique(table["image"].filter(pc.is_null(place))).to_pylist()
        raise InputError(f"{path}: {len(lost)} images are not in the folder: {', '.join(map(str, lost[:5]))}")
    try:
        columns = [
            table[name].cast(of).combine_chunks() if name in table.schema.names else pa.nulls(table.num_rows, of)
            for name, of in fields.items()
        ]
    except pa.ArrowException as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}; its fields are {fields}") from error
    arrays = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in columns]
    entries = pa.StructArray.from_arrays(arrays, fields=list(kind.value_type))
    order = pc.sort_indices(
        pa.table({"place": place, "key": entries.field(key)}), [("place", "ascending"), ("key", "ascending")]
    )
    counts = np.bincount(place.to_numpy(zero_copy_only=False).astype(np.int64), minlength=len(images))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, entries.take(order), type=kind)
