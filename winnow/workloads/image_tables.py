"""The table in which images travel: one row an image, its shape and class names in the schema's metadata.

Free of torch: the stages that only move tables import this and start quickly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from winnow.errors import InputError

METADATA_KEY = b"winnow"
SPLITS = ("train", "valid", "test")
MAX_SIDE = 64
RAW_COLUMNS = ("row", "pixels", "label", "source", "split", "group", "readable")
"""What curation reads; a further column is an annotation."""


@dataclass(frozen=True)
class ImageMeta:
    """What every image of a table has in common."""

    height: int
    width: int
    channels: int
    classes: tuple[str, ...]
    workload: str = ""

    @property
    def pixels(self) -> int:
        """Values per image, in the order height, width, channel."""
        return self.height * self.width * self.channels

    def encode(self) -> dict[str, str]:
        """Parquet metadata, as `write_parquet` takes it."""
        fields = {**vars(self), "classes": list(self.classes), "kind": "images"}
        return {METADATA_KEY.decode(): json.dumps(fields, sort_keys=True, ensure_ascii=False)}


def image_meta(table: pa.Table, name: str = "images") -> ImageMeta:
    """The metadata of an image table; absent or inconsistent metadata is an InputError that names `name`."""
    text = (table.schema.metadata or {}).get(METADATA_KEY)
    remedy = "make it with read_source, read_image_folder or curate_images"
    if text is None:
        raise InputError(f"{name}: not an image table (no metadata {METADATA_KEY.decode()!r}); {remedy}")
    try:
        fields = json.loads(text)
        kind = fields.pop("kind")
        meta = ImageMeta(**{**fields, "classes": tuple(fields["classes"])})
        sizes = (meta.height, meta.width, meta.channels)
        valid = kind == "images" and all(isinstance(s, int) and s > 0 for s in sizes) and meta.classes
    except (ValueError, TypeError, KeyError, AttributeError):
        valid = False
    if not valid:
        raise InputError(f"{name}: its metadata does not describe images ({text.decode()[:80]!r}); {remedy}")
    return meta


def pixel_column(pixels: np.ndarray) -> pa.FixedSizeListArray:
    """Arrow column of uint8[rows, values]."""
    flat = pa.array(np.ascontiguousarray(pixels, dtype=np.uint8).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, pixels.shape[1])


def pixel_array(table: pa.Table, meta: ImageMeta) -> np.ndarray:
    """uint8[rows, height * width * channels]."""
    column = table["pixels"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # a table without rows has no chunk to combine
        return np.zeros((0, meta.pixels), np.uint8)
    values = column.values.slice(column.offset * meta.pixels, len(column) * meta.pixels)
    return values.to_numpy(zero_copy_only=False).reshape(-1, meta.pixels)


def raw_image_table(
    images: np.ndarray,
    labels: Sequence[int | None] | np.ndarray,
    sources: Sequence[str],
    classes: Sequence[str],
    *,
    present: np.ndarray | None = None,
    splits: Sequence[str | None] | None = None,
    groups: Sequence[str | None] | None = None,
    annotations: Mapping[str, pa.Array] | None = None,
) -> pa.Table:
    """Raw table `row, pixels, label, source[, split][, group][, readable]` and annotations, a row per record.

    images: uint8[n, h, w, c]. labels: index into `classes`, or None where unknown. present: False where the
    record could not be read; `readable` says so, since parquet readers cannot read back a list of fixed size that
    is null. splits: the split that the publisher put each record in. groups: what must not straddle splits, such as
    the scene or the survey line that a record was cut from. annotations: further columns, by name, that curation
    keeps beside each image.
    """
    count, height, width, channels = images.shape
    columns = {
        "row": pa.array(np.arange(count), pa.int64()),
        "pixels": pixel_column(images.reshape(count, height * width * channels)),
        "label": pa.array(labels, pa.int32()),
        "source": pa.array(sources, pa.string()),
    }
    if splits is not None:
        columns["split"] = pa.array(splits, pa.string())
    if groups is not None:
        columns["group"] = pa.array(groups, pa.string())
    if present is not None and not present.all():
        columns["readable"] = pa.array(present)
    meta = ImageMeta(height, width, channels, tuple(classes))
    return pa.table({**columns, **(annotations or {})}).replace_schema_metadata(meta.encode())


def metadata_of(table: pa.Table) -> Mapping[str, str]:
    """Parquet metadata of an image table, to hand to `write_parquet`."""
    return image_meta(table).encode()
