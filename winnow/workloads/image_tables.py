"""The table in which images travel: one row an image, its shape and class names in the schema's metadata.

Free of torch: the stages that only move tables import this and start quickly.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from winnow.errors import InputError

METADATA_KEY = b"winnow"
SPLITS = ("train", "valid", "test")
PLAIN_SIDE = 64
"""Images with a longer side travel as PNG, in a column `png` instead of `pixels`."""
MAX_SIDE = 512
RAW_COLUMNS = ("row", "pixels", "png", "label", "source", "split", "group", "readable")
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

    @property
    def column(self) -> str:
        """The column that holds the images: `pixels`, or `png` where they are larger than 64 x 64."""
        return "png" if max(self.height, self.width) > PLAIN_SIDE else "pixels"

    @property
    def type(self) -> pa.DataType:
        """Type of that column."""
        return pa.binary() if self.column == "png" else pa.list_(pa.uint8(), self.pixels)

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


def encode_png(image: np.ndarray) -> bytes:
    """PNG of uint8[h, w, 1 or 3], or of a bool[h, w] mask; the same bytes every time."""
    from PIL import Image

    buffer = io.BytesIO()
    plain = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    Image.fromarray(plain).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """uint8[h, w, 1 or 3] or bool[h, w] of a PNG, as `encode_png` took it; InputError for other data."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            array = np.asarray(image)
            known = image.mode in ("1", "L", "RGB")
    except Exception as error:  # a damaged file makes decoders raise whatever they like
        raise InputError(f"not a readable PNG ({' '.join(str(error).split())[:80]})") from error
    if not known:
        raise InputError(f"a PNG of mode {image.mode}; save it as grey or RGB of 8 bits")
    return array if array.dtype == bool else np.atleast_3d(array)


def image_column(images: np.ndarray, meta: ImageMeta) -> pa.Array:
    """Arrow column, of the type that `meta` says, of uint8[rows, values] or uint8[rows, h, w, c]."""
    images = np.ascontiguousarray(images, dtype=np.uint8).reshape(-1, meta.height, meta.width, meta.channels)
    if meta.column == "png":
        return pa.array([encode_png(image) for image in images], pa.binary())
    return pa.FixedSizeListArray.from_arrays(pa.array(images.reshape(-1)), meta.pixels)


def pixel_array(table: pa.Table, meta: ImageMeta, name: str = "images") -> np.ndarray:
    """uint8[rows, height * width * channels]; InputError, with `name`, for a PNG that is damaged or of another
    shape.
    """
    column = table[meta.column].combine_chunks()
    if meta.column == "pixels":
        values = column.values.slice(column.offset * meta.pixels, len(column) * meta.pixels)
        return values.to_numpy(zero_copy_only=False).reshape(-1, meta.pixels)
    pixels = np.empty((len(column), meta.height, meta.width, meta.channels), np.uint8)
    for row, data in enumerate(column.to_pylist()):
        try:
            image = decode_png(data)
        except InputError as error:
            raise InputError(f"{name}: column 'png', row {row}: {error}") from error
        if image.shape != pixels.shape[1:]:
            shapes = f"{image.shape} where all are {pixels.shape[1:]}"
            raise InputError(f"{name}: column 'png', row {row}: {shapes}; make it again")
        pixels[row] = image
    return pixels.reshape(len(column), meta.pixels)


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

    Images of more than 64 x 64 make a column `png` instead of `pixels`.
    images: uint8[n, h, w, c]. labels: index into `classes`, or None where unknown. present: False where the
    record could not be read; `readable` says so, since parquet readers cannot read back a list of fixed size that
    is null. splits: the split that the publisher put each record in. groups: what must not straddle splits, such as
    the scene or the survey line that a record was cut from. annotations: further columns, by name, that curation
    keeps beside each image.
    """
    count, height, width, channels = images.shape
    meta = ImageMeta(height, width, channels, tuple(classes))
    columns = {
        "row": pa.array(np.arange(count), pa.int64()),
        meta.column: image_column(images, meta),
        "label": pa.array(labels, pa.int32()),
        "source": pa.array(sources, pa.string()),
    }
    if splits is not None:
        columns["split"] = pa.array(splits, pa.string())
    if groups is not None:
        columns["group"] = pa.array(groups, pa.string())
    if present is not None and not present.all():
        columns["readable"] = pa.array(present)
    return pa.table({**columns, **(annotations or {})}).replace_schema_metadata(meta.encode())


def metadata_of(table: pa.Table) -> Mapping[str, str]:
    """Parquet metadata of a table of any kind, to hand to `write_parquet`."""
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
