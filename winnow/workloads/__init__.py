"""Kinds of data and their instances: how curated tables become batches, loss, metrics and hook points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from winnow.errors import InputError

if TYPE_CHECKING:
    from winnow.workloads.images import Images

    Workload = Images


def load_workload(folder: Path | str) -> Workload:
    """The workload whose curated tables lie in a folder; each split is read when it is first asked for.

    Needs train.parquet, whose metadata say which kind it is; valid and test only where they are used.
    Raises InputError for a missing, corrupt or foreign table.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; run the curate stage of this workload first")
    from winnow.workloads.images import Images  # torch is paid for only by those who train or evaluate

    return Images(folder)
