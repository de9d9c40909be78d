"""What the values of a raw table tell: whether they can be used, the type of each column, and the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.curate._rows import check_rows, check_values
from winnow.errors import InputError
from winnow.workloads.image_tables import SPLITS
from winnow.workloads.table_columns import RESERVED, Column, TableMeta, table_meta

MANY_LEVELS = 50
"""A text of more levels than this, and than half its rows, names its rows: no category."""


def check_raw_table(raw: pa.Table, name: str) -> TableMeta:
    """Metadata of a raw table; a wrong column, type or value is an InputError naming it."""
    meta = table_meta(raw, name)
    target = pa.string() if meta.task == "classification" else pa.float64()
    expected = {"row": pa.int64(), "source": pa.string(), "target": target}
    if meta.group is not None:
        expected["group"] = pa.string()
    check_rows(raw, expected, name)
    features = [field for field in raw.schema if field.name not in RESERVED]
    for field in features:
        if field.type not in (pa.float64(), pa.string()):
            raise InputError(f"{name}: column {field.name!r} is {field.type}; it must be double or string")
        if field.type == pa.float64():
            finite = pc.fill_null(pc.is_finite(raw[field.name]), True)
            check_values(raw, field.name, finite, "leave it empty where there is no value", name)
    if not features:
        raise InputError(f"{name}: no column beside the target; there is nothing to learn from")
    return meta


def _in_order(texts: Sequence[str]) -> tuple[str, ...]:
    """Sorted as numbers where all are, as texts otherwise."""
    try:
        return tuple(sorted(texts, key=lambda text: (float(text), text)))
    except ValueError:
        return tuple(sorted(texts))


def features_of(raw: pa.Table) -> list[str]:
    """Columns that are features and hold a value."""
    return [n for n in raw.schema.names if n not in RESERVED and raw[n].null_count < raw.num_rows]


def column_of(raw: pa.Table, feature: str, meta: TableMeta, train: np.ndarray, name: str) -> Column:
    """Type and levels of a feature: what was said of it, else told from its values; levels are those of train."""
    values = raw[feature]
    unit = meta.units.get(feature, "")
    declared = meta.declared.get(feature)
    if isinstance(declared, list | tuple):
        levels = tuple(map(str, declared))
        known = pc.fill_null(pc.is_in(values, pa.array(levels, pa.string())), True)
        known = pc.or_(known, pc.is_null(values))
        check_values(raw, feature, known, f"its levels are {', '.join(levels)}", name)
        return Column(feature, "ordinal", levels, unit)
    if pa.types.is_floating(values.type):
        return Column(feature, "numeric", unit=unit)
    present, distinct = raw.num_rows - values.null_count, pc.count_distinct(values).as_py()
    if declared is None and distinct > max(MANY_LEVELS, present / 2):
        raise InputError(
            f"{name}: column {feature!r} has {distinct} different texts in {present} rows, which is no category; "
            f"name it in leave_out, or set columns: {{{feature}: category}}"
        )
    return Column(feature, "category", _in_order(pc.unique(values.take(pa.array(train)).drop_null()).to_pylist()), unit)


def labels_of(raw: pa.Table, meta: TableMeta, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """int64[n] class of every row, -1 where there is none, and the classes in order; for regression all 0."""
    if meta.task == "regression":
        return np.where(raw["target"].is_null().to_numpy(), -1, 0), ()
    found = pc.unique(raw["target"].drop_null()).to_pylist()
    if len(found) < 2:
        raise InputError(f"{name}: target {meta.target!r} has one class ({', '.join(found)}); it needs two or more")
    if len(found) > max(MANY_LEVELS, raw.num_rows / 5):
        raise InputError(
            f"{name}: target {meta.target!r} has {len(found)} different values in {raw.num_rows} rows, which are no "
            "classes; set task: regression, or another target"
        )
    first = [label for label in meta.classes if label in found]
    classes = (*first, *_in_order([label for label in found if label not in first]))
    index = pc.fill_null(pc.index_in(raw["target"], pa.array(classes, pa.string())), -1)
    return index.to_numpy().astype(np.int64), classes


def require_all(labels: np.ndarray, splits: np.ndarray, classes: Sequence[str], name: str) -> None:
    """Raise InputError where a split has no row, or a class none to train on."""
    for split in SPLITS:
        if split not in splits:
            raise InputError(f"{name}: no row is left for {split}; bring more rows or groups")
    for label, class_name in enumerate(classes):
        if not ((labels == label) & (splits == "train")).any():
            raise InputError(f"{name}: class {class_name!r} has no row left to train on; add rows or drop the class")
