"""Curation of files of source or prose: what cannot be used or is there twice goes, with its reason; the rest is split.

Near copies are found by MinHash and exact Jaccard similarity of token runs, file by file, which is what OpenCoder
(Huang et al., "OpenCoder: The Open Cookbook for Top-Tier Code Large Language Models", 2024) found best. As in its
recipe texts can be cleaned, filtered and down-sampled besides. Files are judged alone, shard by shard and without their
neighbours; the fates of all are decided on what is then known of each, without the texts.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.curate.code_signals import THRESHOLDS, Limits, decide, signals
from winnow.curate.opencoder import cleaned, spared, uninformative
from winnow.errors import InputError
from winnow.workloads.splits import hash_split
from winnow.workloads.text_tables import LARGEST_FILE, RAW, language_of

SPLITS = ("train", "valid", "test", "held_out")
"""held_out: whole packages of which nothing is in another split."""
REASONS = (
    "licence",
    "too_large",
    "encoding",
    "empty",
    "syntax",
    "exact_duplicate",
    "near_duplicate",
    "related_to_held_out",
    "downsampled",
)
"""Why a file is dropped, besides the signals of a filter; the first that applies counts."""
JUDGED = pa.schema([*(field for field in RAW if field.name != "text"), ("reason", pa.string())])
"""What is known of a file by itself: the columns of a raw table but its text, and why it cannot be used."""

Join = Callable[[Sequence[float], np.ndarray], np.ndarray]


def parses(text: str) -> bool:
    """Whether a text is Python that this interpreter can parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in strings, mostly
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def judge_files(
    raw: pa.Table,
    *,
    licences: Collection[str] | None = None,
    clean: bool = False,
    measured: bool = False,
    classed: bool = False,
) -> pa.Table:
    """What is known of each file by itself: the columns JUDGED, `reason` null where it can be used.

    raw: as `raw_text_table` makes it, or some rows of such a table. licences: those that are taken; None takes all.
    clean: the text is judged, and its bytes counted, as `winnow.curate.opencoder.cleaned` leaves it.
    measured: columns float64 `signal_<name>` follow, of `winnow.curate.code_signals`, null for unusable files, and for
    files that are not Python where the signal is of code. classed: a column `uninformative` follows, test or data for
    usable Python of little to learn from, else null.
    Raises InputError for a table of other columns.
    """
    if raw.schema.remove_metadata() != RAW:
        raise InputError(f"raw table: has columns {', '.join(raw.schema.names)}; it must have {', '.join(RAW.names)}")
    paths, texts = raw["path"].to_pylist(), raw["text"].to_pylist()
    languages = [language_of(path) for path in paths]
    sizes = raw["bytes"].to_pylist()
    if clean:
        texts = [None if text is None else cleaned(text) for text in texts]
        sizes = [size if text is None else len(text.encode()) for text, size in zip(texts, sizes, strict=True)]
    rows = zip(texts, languages, sizes, raw["licence"].to_pylist(), strict=True)
    reasons = [
        "licence" if licences is not None and licence not in licences else _unusable(text, language, size)
        for text, language, size, licence in rows
    ]
    judged = raw.drop_columns(["text"]).append_column("reason", pa.array(reasons, pa.string()))
    judged = judged.set_column(
        judged.schema.get_field_index("bytes"), RAW.field("bytes"), [pa.array(sizes, pa.int64())]
    )
    if measured:
        usable = zip(texts, languages, reasons, strict=True)
        found = [{} if reason else signals(text, language) for text, language, reason in usable]
        for name in THRESHOLDS:
            values = pa.array([of.get(name) for of in found], pa.float64())
            judged = judged.append_column(f"signal_{name}", values)
    if classed:
        kinds = [
            uninformative(path, text) if reason is None and language == "python" else None
            for path, text, language, reason in zip(paths, texts, languages, reasons, strict=True)
        ]
        judged = judged.append_column("uninformative", pa.array(kinds, pa.string()))
    return judged.replace_schema_metadata(None)


def _unusable(text: str | None, language: str | None, size: int) -> str | None:
    if text is None:
        return "too_large" if size > LARGEST_FILE else "encoding"
    if not text.strip():
        return "empty"
    return "syntax" if language == "python" and not parses(text) else None


class _Files:
    """The rows of a table of judged files, with the reason of each dropped one."""

    def __init__(self, judged: pa.Table, held_out: Sequence[str]) -> None:
        self.package = np.array(judged["package"].to_pylist(), object)
        self.held_out = np.isin(self.package.astype(str), list(held_out))
        self.sha256 = np.array(judged["sha256"].to_pylist(), str)
        self.reason = np.array(judged["reason"].to_pylist(), object)
        self.instead = np.full(judged.num_rows, -1, np.int64)
        # Of copies one in a held-out package stays, then the first: nothing near to it may be trained on.
        self.precedence = np.lexsort((judged["row"].to_numpy(), ~self.held_out)).argsort()

    @property
    def kept(self) -> np.ndarray:
        return np.flatnonzero(self.reason == None)  # noqa: E711  elementwise

    def drop(self, mask: np.ndarray, reason: str) -> None:
        self.reason[mask & (self.reason == None)] = reason  # noqa: E711  elementwise

    def keep_one(self, rows: np.ndarray, groups: np.ndarray, reason: str) -> None:
        """Drop all rows of each group but the first by precedence; groups[i] is the group of rows[i]."""
        order = np.argsort(self.precedence[rows], kind="stable")
        _, first, inverse = np.unique(groups[order], return_index=True, return_inverse=True)
        stays = rows[order][first][inverse]
        away = rows[order] != stays
        self.reason[rows[order][away]] = reason
        self.instead[rows[order][away]] = stays[away]

    def downsample(self, kinds: pa.ChunkedArray, share: float) -> None:
        """Keep a share of the files of an uninformative kind, chosen by their content; held-out packages stay whole."""
        chosen = kinds.is_valid().to_numpy() & ~self.held_out
        for i in self.kept[chosen[self.kept]]:
            if not spared(str(self.sha256[i]).encode(), share):
                self.reason[i] = "downsampled"

    def hold_against(self, judged: pa.Table, thresholds: Mapping[str, Limits]) -> None:
        """Drop files whose signals lie outside the limits; the reason is the first such signal."""
        columns = judged.select([f"signal_{name}" for name in thresholds]).rename_columns(list(thresholds))
        for i, found in zip(self.kept, columns.take(self.kept).to_pylist(), strict=True):
            decision = decide(found, thresholds, str(self.sha256[i]).encode())
            if not decision.keep:
                self.reason[i] = decision.failed[0]


def decide_fates(
    judged: pa.Table,
    join: Join,
    *,
    workload: str,
    split_salt: str = "winnow",
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    held_out: Sequence[str] = (),
    near_duplicate_similarity: float = 0.85,
    related_similarity: float = 0.5,
    thresholds: Mapping[str, Limits] | None = None,
    downsample: float = 1.0,
) -> pa.Table:
    """Fates: `row, source, package, path, licence, bytes, quality, reason, kept, split, file_id, cluster` of each file.

    judged: of all files, as `judge_files` makes it. join: thresholds and bool[files], of which files to look at -> the
    component int64[thresholds, files] of files of a Jaccard similarity (of runs of five tokens) at or above each, as
    `winnow.workloads.shard_join.join_shards` finds it. Of files at or above near_duplicate_similarity, directly or
    through others, one stays, whose file_id is the others' `kept`. Files at or above related_similarity stay in one
    split, and are dropped where one of them is held out. The key of a split is such a group of files, its stratum the
    package, its weight the bytes. held_out: packages that are a split of their own. thresholds: limits of signals,
    outside of which a file is dropped first; None drops none. downsample: share of the files with a value in the column
    `uninformative` that stays to be split; 1 asks for no such column. quality: float32, the share of a file's measured
    signals that lie within the filter's own limits; null where none was measured. A dropped file has a `reason`, others
    `split`, `file_id` and `cluster`. All is independent of the order of files but for which of several copies stays.
    Raises InputError for an unknown package, similarities outside 0 < related <= near <= 1, and where nothing stays to
    train on, or nothing falls to a split.
    """
    name = f"{workload}: raw table"
    _check(judged, held_out, near_duplicate_similarity, related_similarity, name)
    files = _Files(judged, held_out)
    if thresholds is not None:
        files.hold_against(judged, thresholds)
    files.keep_one(files.kept, files.sha256[files.kept], "exact_duplicate")
    rows = files.kept
    alike = join((near_duplicate_similarity, related_similarity), np.isin(np.arange(len(files.reason)), rows))
    files.keep_one(rows, alike[0, rows], "near_duplicate")
    files.drop(np.isin(alike[1], alike[1, rows[files.held_out[rows]]]) & ~files.held_out, "related_to_held_out")
    if downsample < 1:
        files.downsample(judged["uninformative"], downsample)
    kept = files.kept
    if not (~files.held_out[kept]).any():
        raise InputError(f"{name}: no file is left to train on; dropped are {_counts(files.reason)['dropped']}")
    cluster = _named_by_content(files.sha256[kept], alike[1, kept])
    split = np.full(judged.num_rows, None, object)
    split[kept] = "held_out"
    free = ~files.held_out[kept]
    shares, weights = dict(zip(SPLITS[:3], fractions, strict=True)), judged["bytes"].to_numpy()[kept[free]]
    strata = files.package[kept[free]].astype(str)
    split[kept[free]] = hash_split(cluster[free], strata, split_salt, shares, weights)
    for wanted in SPLITS[:3]:
        if not (split == wanted).any():
            raise InputError(f"{name}: no file falls to {wanted}, of {free.sum()} that are kept; give more files")
    return _fates(judged, files, split, cluster)


def _check(judged: pa.Table, held_out: Sequence[str], near: float, related: float, name: str) -> None:
    if not judged.num_rows:
        raise InputError(f"{name}: no rows; there is nothing to curate")
    packages = sorted(set(judged["package"].to_pylist()))
    for package in held_out:
        if package not in packages:
            raise InputError(f"{name}: held_out names {package!r}, which is none of {', '.join(packages)}")
    if not 0 < related <= near <= 1:
        raise InputError(
            f"related_similarity is {related} and near_duplicate_similarity {near}; give 0 < related <= near <= 1"
        )


def _named_by_content(sha256: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The group of each file under the least digest of its files, which does not depend on their order."""
    order = np.argsort(sha256, kind="stable")
    _, first, inverse = np.unique(group[order], return_index=True, return_inverse=True)
    named = np.empty(len(group), sha256.dtype)
    named[order] = sha256[order][first][inverse]
    return named


def _file_ids(sha256: np.ndarray) -> np.ndarray:
    """int64: the first 63 bits of a file's digest."""
    return np.array([int(digest[:16], 16) >> 1 for digest in sha256], np.int64)


def _fates(judged: pa.Table, files: _Files, split: np.ndarray, cluster: np.ndarray) -> pa.Table:
    count, kept = judged.num_rows, files.kept
    ids = {name: np.full(count, -1, np.int64) for name in ("kept", "file_id", "cluster")}
    copies = np.flatnonzero(files.instead >= 0)
    ids["kept"][copies] = _file_ids(files.sha256[files.instead[copies]])
    ids["file_id"][kept], ids["cluster"][kept] = _file_ids(files.sha256[kept]), _file_ids(cluster)
    table = judged.select(["row", "source", "package", "path", "licence", "bytes"])
    table = table.append_column("quality", _quality(judged))
    table = table.append_column("reason", pa.array(files.reason, pa.string()))
    table = table.append_column("split", pa.array(split, pa.string()))
    for name, values in ids.items():
        table = table.append_column(name, pa.array(values, pa.int64(), mask=values < 0))
    return table


def _quality(judged: pa.Table) -> pa.Array:
    measured, within = np.zeros(judged.num_rows), np.zeros(judged.num_rows)
    for name, (low, high) in THRESHOLDS.items():
        if f"signal_{name}" in judged.schema.names:
            values = judged[f"signal_{name}"].to_numpy()
            there = np.isfinite(values)
            outside = (values < (-np.inf if low is None else low)) | (values > (np.inf if high is None else high))
            measured, within = measured + there, within + (there & ~outside)
    share = (within / np.maximum(measured, 1)).astype(np.float32)
    return pa.array(share, pa.float32(), mask=measured == 0)


def documents_of(fates: pa.Table, split: str) -> pa.Table:
    """A split's files in the order of file_id: `at` (their row in the fates), then the columns of a curated table."""
    at = np.flatnonzero(np.array(fates["split"].to_pylist(), object) == split)
    at = at[np.argsort(fates["file_id"].take(at).to_numpy(), kind="stable")]
    chosen = fates.select(["file_id", "source", "package", "path", "licence", "bytes", "quality", "cluster"]).take(at)
    languages = pa.array([language_of(path) for path in chosen["path"].to_pylist()], pa.string())
    chosen = chosen.append_column("language", languages)
    return chosen.add_column(0, "at", pa.array(at, pa.int64())).combine_chunks()


def dropped_of(fates: pa.Table) -> pa.Table:
    """`row, source, path, reason, kept` of each file dropped; kept: the file_id of the one that stayed instead."""
    gone = fates.filter(fates["reason"].is_valid())
    return gone.select(["row", "source", "path", "reason", "kept"]).sort_by("row")


def report_of(fates: pa.Table) -> dict[str, Any]:
    """Counts in, kept and dropped by reason; over all, by package, by split with bytes."""
    reason, package = (np.array(fates[name].to_pylist(), object) for name in ("reason", "package"))
    packages = {str(name): _counts(reason[package == name]) for name in np.unique(package.astype(str))}
    splits = {split: documents_of(fates, split)["bytes"].to_numpy() for split in SPLITS}
    told = {split: {"kept": len(sizes), "bytes": int(sizes.sum())} for split, sizes in splits.items()}
    return _counts(reason) | {"packages": packages, "splits": told}


def _counts(reason: np.ndarray) -> dict[str, Any]:
    dropped = {name: int((reason == name).sum()) for name in REASONS}
    dropped |= {name: n for name in THRESHOLDS if (n := int((reason == name).sum()))}
    return {"rows_in": len(reason), "kept": len(reason) - sum(dropped.values()), "dropped": dropped}
