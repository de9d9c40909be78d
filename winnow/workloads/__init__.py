"""Kinds of data and their instances: how curated tables become batches, loss, metrics and hook points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.errors import InputError

if TYPE_CHECKING:
    from winnow.workloads.images import Images
    from winnow.workloads.interactions import Interactions
    from winnow.workloads.sequences import Sequences
    from winnow.workloads.tables import Tables
    from winnow.workloads.texts import Texts

    Labelled = Images | Tables
    Workload = Labelled | Texts | Sequences | Interactions


def load_workload(folder: Path | str) -> Workload:
    """The workload whose curated tables lie in a folder; each split is read when it is first asked for.

    Needs train.parquet, whose metadata say which kind it is; valid and test only where they are used.
    Raises InputError for a missing, corrupt or foreign table.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; run the curate stage of this workload first")
    # torch is paid for only by those who train or evaluate
    kind = _kind(folder / "train.parquet")
    if kind == "table":
        from winnow.workloads.tables import Tables

        return Tables(folder)
    if kind == "text":
        from winnow.workloads.texts import Texts

        return Texts(folder)
    if kind == "sequences":
        from winnow.workloads.sequences import Sequences

        return Sequences(folder)
    if kind == "interactions":
        from winnow.workloads.interactions import Interactions

        return Interactions(folder)
    from winnow.workloads.images import Images

    return Images(folder)


def _kind(path: Path) -> str:
    """The kind that a curated table's metadata name; nothing where they name none."""
    from winnow.pipeline.tables import read_parquet
    from winnow.workloads.image_tables import METADATA_KEY

    text = (read_parquet(path, []).schema.metadata or {}).get(METADATA_KEY, b"")
    try:
        return str(json.loads(text)["kind"])
    except (ValueError, KeyError, TypeError):
        return ""
