"""Curation of source files: what cannot be used or is there twice goes, with its reason; the rest is split.

Near copies are found by MinHash and exact Jaccard similarity of token runs, file by file, which is what OpenCoder
(Huang et al., "OpenCoder: The Open Cookbook for Top-Tier Code Large Language Models", 2024) found best.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.errors import InputError
from winnow.workloads.minhash import candidate_pairs, components, jaccard, minhash, shingles, words
from winnow.workloads.splits import hash_split
from winnow.workloads.text_tables import RAW

SPLITS = ("train", "valid", "test", "held_out")
"""held_out: whole packages of which nothing is in another split."""
REASONS = ("licence", "encoding", "empty", "syntax", "exact_duplicate", "near_duplicate", "related_to_held_out")
"""Why a file is dropped; the first that applies counts."""
BANDS, ROWS = 32, 4


@dataclass(frozen=True)
class CuratedTexts:
    """What curation made of a raw table."""

    tables: dict[str, pa.Table]
    """Split -> `file_id, source, package, path, licence, text, bytes, cluster`, sorted by file_id."""
    dropped: pa.Table
    """`row, source, path, reason, kept` of each file dropped; kept: the file_id of the one that stayed in its place."""
    report: dict[str, Any]
    """Counts in, kept and dropped by reason; over all, by package, by split."""


class _Files:
    """The rows of a raw table, with the reason of each dropped one."""

    def __init__(self, raw: pa.Table, held_out: Sequence[str]) -> None:
        self.package = np.array(raw["package"].to_pylist(), object)
        self.held_out = np.isin(self.package.astype(str), list(held_out))
        self.sha256 = np.array(raw["sha256"].to_pylist(), str)
        self.reason = np.full(raw.num_rows, None, object)
        self.instead = np.full(raw.num_rows, -1, np.int64)
        # Of copies one in a held-out package stays, then the first: nothing near to it may be trained on.
        self.precedence = np.lexsort((raw["row"].to_numpy(), ~self.held_out)).argsort()

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


def parses(text: str) -> bool:
    """Whether a text is Python that this interpreter can parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in strings, mostly
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def curate_texts(
    raw: pa.Table,
    *,
    workload: str,
    split_salt: str = "winnow",
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    held_out: Sequence[str] = (),
    licences: Sequence[str] | None = None,
    near_duplicate_similarity: float = 0.85,
    related_similarity: float = 0.5,
) -> CuratedTexts:
    """Drop files that cannot be used, copies and near copies; split what stays.

    raw: as `raw_text_table` makes it. licences: those that are taken; None takes all. Of files of a Jaccard
    similarity (of runs of five tokens) at or above near_duplicate_similarity, directly or through others, one stays.
    Files at or above related_similarity stay in one split, and are dropped where one of them is held out. The key of a
    split is such a group of files, its stratum the package, its weight the bytes. held_out: packages that are a
    split of their own. All results are independent of the order of files but for which of several copies stays.
    Raises InputError for a table of other columns, an unknown package, and where nothing stays to train on.
    """
    name = f"{workload}: raw table"
    _check(raw, held_out, near_duplicate_similarity, related_similarity, name)
    files = _Files(raw, held_out)
    texts = raw["text"].to_pylist()
    if licences is not None:
        files.drop(~np.isin(np.array(raw["licence"].to_pylist(), str), list(licences)), "licence")
    files.drop(raw["text"].is_null().to_numpy(), "encoding")
    files.drop(np.array([text is not None and not text.strip() for text in texts]), "empty")
    usable = np.ones(len(texts), bool)
    usable[files.kept] = [parses(texts[i]) for i in files.kept]
    files.drop(~usable, "syntax")
    files.keep_one(files.kept, files.sha256[files.kept], "exact_duplicate")
    related = _drop_near_copies(files, texts, near_duplicate_similarity, related_similarity)
    kept = files.kept
    if not (~files.held_out[kept]).any():
        raise InputError(f"{name}: no file is left to train on; dropped are {_counts(files.reason)['dropped']}")
    splits = np.full(len(texts), "held_out", object)
    free = kept[~files.held_out[kept]]
    cluster = _named_by_content(files.sha256[free], related[free])
    shares = dict(zip(SPLITS[:3], fractions, strict=True))
    weights = raw["bytes"].to_numpy()[free]
    splits[free] = hash_split(cluster, files.package[free].astype(str), split_salt, shares, weights)
    for split in SPLITS[:3]:
        if not (splits == split).any():
            raise InputError(f"{name}: no file falls to {split}, of {len(free)} that are kept; give more files")
    tables = {split: _documents(raw, files, related, kept[splits[kept] == split]) for split in SPLITS}
    return CuratedTexts(tables, _dropped(raw, files), _report(files, tables))


def _check(raw: pa.Table, held_out: Sequence[str], near: float, related: float, name: str) -> None:
    if raw.schema.remove_metadata() != RAW:
        raise InputError(f"{name}: has columns {', '.join(raw.schema.names)}; it must have {', '.join(RAW.names)}")
    if not raw.num_rows:
        raise InputError(f"{name}: no rows; there is nothing to curate")
    packages = sorted(set(raw["package"].to_pylist()))
    for package in held_out:
        if package not in packages:
            raise InputError(f"{name}: held_out names {package!r}, which is none of {', '.join(packages)}")
    if not 0 < related <= near <= 1:
        raise InputError(
            f"related_similarity is {related} and near_duplicate_similarity {near}; give 0 < related <= near <= 1"
        )


def _drop_near_copies(files: _Files, texts: list[str | None], near: float, related: float) -> np.ndarray:
    """Drop all but one of near copies, and what is related to held-out files; the group of related files of each."""
    rows = files.kept
    found = shingles([words(texts[i] or "") for i in rows])
    pairs = candidate_pairs(minhash(found, BANDS * ROWS), BANDS, ROWS)
    similarity = jaccard(found, pairs)
    files.keep_one(rows, components(len(rows), pairs[similarity >= near]), "near_duplicate")
    group = np.full(len(texts), -1, np.int64)
    group[rows] = components(len(rows), pairs[similarity >= related])
    of_held_out = np.isin(group, group[rows[files.held_out[rows]]])
    files.drop(of_held_out & ~files.held_out, "related_to_held_out")
    return group


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


def _documents(raw: pa.Table, files: _Files, related: np.ndarray, rows: np.ndarray) -> pa.Table:
    ids = _file_ids(files.sha256[rows])
    order = np.argsort(ids, kind="stable")
    chosen = raw.take(pa.array(rows[order])).replace_schema_metadata(None)
    columns = {"file_id": pa.array(ids[order], pa.int64())}
    columns |= {name: chosen[name] for name in ("source", "package", "path", "licence", "text", "bytes")}
    clusters = _file_ids(_named_by_content(files.sha256[rows], related[rows])[order])
    return pa.table(columns | {"cluster": pa.array(clusters, pa.int64())})


def _dropped(raw: pa.Table, files: _Files) -> pa.Table:
    away = np.flatnonzero(files.reason != None)  # noqa: E711  elementwise
    chosen = raw.select(["row", "source", "path"]).take(pa.array(away)).replace_schema_metadata(None)
    instead = files.instead[away]
    kept = pa.array(_file_ids(files.sha256[instead]), pa.int64(), mask=instead < 0)
    table = chosen.append_column("reason", pa.array(files.reason[away], pa.string())).append_column("kept", kept)
    return table.sort_by("row")


def _counts(reason: np.ndarray) -> dict[str, Any]:
    dropped = {name: int((reason == name).sum()) for name in REASONS}
    return {"rows_in": len(reason), "kept": len(reason) - sum(dropped.values()), "dropped": dropped}


def _report(files: _Files, tables: dict[str, pa.Table]) -> dict[str, Any]:
    packages = {
        str(name): _counts(files.reason[files.package == name]) for name in np.unique(files.package.astype(str))
    }
    splits = {
        split: {"kept": table.num_rows, "bytes": int(sum(table["bytes"].to_pylist()))}
        for split, table in tables.items()
    }
    return _counts(files.reason) | {"packages": packages, "splits": splits}
