"""Curation of image tables: what cannot be used is dropped, with its reason; the rest is keyed, split and
sorted.

Near-duplicates are removed across splits as well as within them: Barz and Denzler, "Do We Train on Test Data?
Purging CIFAR of Near-Duplicates", Journal of Imaging, 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.curate._rows import Rows, check_rows, check_values
from winnow.errors import InputError
from winnow.workloads.image_tables import RAW_COLUMNS, SPLITS, ImageMeta, image_meta, pixel_array
from winnow.workloads.near_duplicates import near_duplicate_clusters
from winnow.workloads.splits import first_by_hash

REASONS = (
    "unreadable",
    "no_label",
    "constant",
    "conflicting_label",
    "exact_duplicate",
    "near_duplicate",
    "beyond_limit",
)
"""Why a row is dropped; the first that applies counts."""


@dataclass(frozen=True)
class CuratedImages:
    """What curation made of a raw table."""

    tables: dict[str, pa.Table]
    """Split -> `image_id, pixels, label, quality[, group]` and annotations, sorted by image_id; or png for pixels."""
    classes: pa.Table
    """`label, name` of every class."""
    dropped: pa.Table
    """`row, source, image_id, label, reason, kept` of each row dropped; kept: the image that stayed."""
    report: dict[str, Any]
    """Counts in, kept and dropped by reason; over all, by class, by split."""
    metadata: dict[str, str]
    """Parquet metadata that each of the tables has to be written with."""


def image_ids(pixels: np.ndarray, meta: ImageMeta) -> np.ndarray:
    """Key of every image: the first 63 bits of blake2b(height, width, channels as little-endian uint32;
    pixels).

    pixels: uint8[n, values]. Returns int64[n], at least 0. Equal content has equal keys in every data set.
    """
    prefix = blake2b(np.array([meta.height, meta.width, meta.channels], "<u4").tobytes(), digest_size=8)

    def one(image: np.ndarray) -> int:
        state = prefix.copy()
        state.update(image.data)
        return int.from_bytes(state.digest(), "big") >> 1

    return np.fromiter((one(image) for image in np.ascontiguousarray(pixels)), np.int64, len(pixels))


def check_raw_images(raw: pa.Table, name: str) -> ImageMeta:
    """Metadata of a raw image table; a wrong column, type or value is an InputError naming it."""
    meta = image_meta(raw, name)
    expected = {"row": pa.int64(), meta.column: meta.type, "label": pa.int32(), "source": pa.string()}
    for column, kind in (("group", pa.string()), ("readable", pa.bool_())):
        if column in raw.schema.names:
            expected[column] = kind
    check_rows(raw, expected, name)
    images = raw[meta.column]
    inside = meta.column == "pixels" and pc.any(pc.is_null(pc.list_flatten(images))).as_py()
    if images.null_count or inside:
        raise InputError(
            f"{name}: column {meta.column!r} has a missing value; mark the image by a column readable: false"
        )
    if "readable" in raw.schema.names:
        check_values(raw, "readable", pc.is_valid(raw["readable"]), "it must be true or false", name)
    labels = pc.fill_null(raw["label"], 0)
    in_range = pc.and_(pc.greater_equal(labels, 0), pc.less(labels, len(meta.classes)))
    check_values(raw, "label", in_range, f"it must be null or 0 to {len(meta.classes) - 1}", name)
    return meta


class _ImageRows(Rows):
    """The rows of a raw table of images, their pixels, and the keys that decide their split."""

    def __init__(self, raw: pa.Table, meta: ImageMeta, name: str) -> None:
        self.column = meta.column
        self.pixels = pixel_array(raw, meta, name)
        marked = "readable" in raw.schema.names
        self.readable = raw["readable"].to_numpy() if marked else np.ones(raw.num_rows, bool)
        super().__init__(raw, image_ids(self.pixels, meta), raw["label"].fill_null(-1).to_numpy())
        self.keys = self.ids.astype(str)  # an image without a group is one of its own
        if "group" in raw.schema.names:
            named = raw["group"].to_pylist()
            self.keys = np.array([g or key for g, key in zip(named, self.keys, strict=True)])


def _drop_unusable(rows: _ImageRows) -> None:
    constant = rows.pixels.max(axis=1) == rows.pixels.min(axis=1)
    # From the last reason to the first: the first that applies counts.
    rows.drop(np.flatnonzero(constant), "constant")
    rows.drop(np.flatnonzero(rows.labels < 0), "no_label")
    rows.drop(np.flatnonzero(~rows.readable), "unreadable")


def _drop_near_duplicates(rows: _ImageRows, meta: ImageMeta, distance: float) -> dict[str, int]:
    kept = rows.kept
    images = rows.pixels[kept].reshape(-1, meta.height, meta.width, meta.channels)
    clusters = near_duplicate_clusters(images, distance)
    sizes = np.bincount(clusters)
    labelled = np.unique(np.stack([clusters, rows.labels[kept]]), axis=1)[0]
    rows.drop_all_but_first(kept, clusters, "near_duplicate")
    return {
        "clusters": int((sizes > 1).sum()),
        "rows": int(sizes[sizes > 1].sum()),
        "largest": int(sizes.max(initial=0)),
        "mixed_labels": int((np.bincount(labelled) > 1).sum()),
    }


def _require_whole_groups(rows: _ImageRows, name: str) -> None:
    if rows.published is None:
        return
    place: dict[str, str] = {}
    for key, split in zip(rows.keys[rows.kept].tolist(), rows.published[rows.kept], strict=True):
        if place.setdefault(key, split) != split:
            raise InputError(f"{name}: group {key!r} lies in {place[key]} and in {split}; publish it in one split")


def _require_all(labels: np.ndarray, splits: np.ndarray, meta: ImageMeta, name: str) -> None:
    for split in SPLITS:
        if split not in splits:
            raise InputError(
                f"{name}: no image is left for {split}; bring more images or lower near_duplicate_distance"
            )
    for label, class_name in enumerate(meta.classes):
        if not ((labels == label) & (splits == "train")).any():
            raise InputError(
                f"{name}: class {class_name!r} has no image left to train on; add images or drop the class"
            )


def _curated_table(raw: pa.Table, rows: _ImageRows, members: np.ndarray, metadata: Mapping[str, str]) -> pa.Table:
    members = members[np.argsort(rows.ids[members], kind="stable")]
    columns = {
        "image_id": pa.array(rows.ids[members], pa.int64()),
        rows.column: raw[rows.column].take(pa.array(members)),
        "label": pa.array(rows.labels[members], pa.int32()),
        "quality": pa.nulls(len(members), pa.float32()),
    }
    own = set(RAW_COLUMNS).union(columns) - {"group"}
    travelling = [column for column in raw.schema.names if column not in own]
    columns |= {column: raw[column].take(pa.array(members)) for column in travelling}
    return pa.table(columns).replace_schema_metadata(dict(metadata))


def _dropped_table(rows: _ImageRows, raw: pa.Table) -> pa.Table:
    away = np.flatnonzero(rows.reason != None)  # noqa: E711  elementwise
    away = away[np.argsort(raw["row"].to_numpy()[away], kind="stable")]
    chosen = raw.select(["row", "source", "label"]).take(pa.array(away)).replace_schema_metadata(None)
    columns = {
        "row": chosen["row"],
        "source": chosen["source"],
        "image_id": pa.array(rows.ids[away], pa.int64(), mask=~rows.readable[away]),
        "label": chosen["label"],
        "reason": pa.array(rows.reason[away], pa.string()),
        "kept": pa.array(rows.instead[away], pa.int64(), mask=rows.instead[away] < 0),
    }
    return pa.table(columns)


def curate_images(
    raw: pa.Table,
    *,
    workload: str,
    split_salt: str = "winnow",
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    near_duplicate_distance: float = 0.02,
    limit: int | None = None,
) -> CuratedImages:
    """Drop what cannot be used, keep one of each cluster of near-duplicates, split the rest.

    raw: `row int64, pixels fixed_size_list<uint8>, label int32, source string[, split string][, group string]`,
    as the readers make it, with `png binary` for pixels where images are larger than 64 x 64; further columns are
    annotations and travel with their images. A published split is honoured; what it lacks is cut from its train.
    Otherwise the key is the group, or the image_id where there is none, and the stratum the label (of a group the
    lowest that it holds). fractions: shares of train, valid and test.
    near_duplicate_distance: see `near_duplicate_clusters`; of a cluster the lowest image_id stays, one
    outside the published train first. limit: at most so many images of each split, the first by hash. All
    results are independent of row order. Raises InputError for a table that breaks the schema, for a split or
    a class without an image to train on, for a group that a published split divides.
    """
    name = f"{workload}: raw images"
    meta = check_raw_images(raw, name)
    meta = ImageMeta(meta.height, meta.width, meta.channels, meta.classes, workload)
    rows = _ImageRows(raw, meta, name)
    _drop_unusable(rows)
    copies, conflicts = rows.conflicting(rows.ids)
    rows.drop(copies, "conflicting_label")
    rows.drop_all_but_first(rows.kept, rows.ids[rows.kept], "exact_duplicate")
    clusters = _drop_near_duplicates(rows, meta, near_duplicate_distance)
    _require_whole_groups(rows, name)
    shares = dict(zip(SPLITS, fractions, strict=True))
    splits = rows.splits(rows.keys[rows.kept], rows.labels[rows.kept], split_salt, shares, name)
    _require_all(rows.labels[rows.kept], splits, meta, name)
    if limit is not None:
        kept = rows.kept
        stays = np.zeros(len(kept), bool)
        for split in SPLITS:
            mine = splits == split
            stays[mine] = first_by_hash(rows.ids[kept][mine], split_salt, limit)
        rows.drop(kept[~stays], "beyond_limit")
        splits = splits[stays]
    metadata = meta.encode()
    report = rows.report(splits, meta.classes, REASONS) | {"conflicting_images": conflicts, "near_duplicates": clusters}
    classes = pa.table(
        {"label": pa.array(range(len(meta.classes)), pa.int32()), "name": pa.array(meta.classes, pa.string())}
    )
    tables = {split: _curated_table(raw, rows, rows.kept[splits == split], metadata) for split in SPLITS}
    return CuratedImages(tables, classes, _dropped_table(rows, raw), report, metadata)
