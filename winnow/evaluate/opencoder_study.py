"""Arms of the OpenCoder recipe on one pool with planted forks, each judged by what as many tokens of it teach."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from winnow.curate.byte_pairs import encode
from winnow.curate.code_signals import THRESHOLDS, Limits, decide, signals
from winnow.curate.opencoder import (
    Dropped,
    File,
    Files,
    Level,
    Step,
    cleaned,
    downsample,
    exact_copies,
    heuristic_filter,
    near_copies,
    near_groups,
    popular,
    run_recipe,
    transform,
)
from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.train.ngram import fit_ngram

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LICENCE = "# Copyright (c) {year} the authors of {name}\n# Licensed under the MIT License; see LICENSE.\n#\n\n"
RELATED = 0.5
FORK = "fork"

Rows = list[dict[str, Any]]
SHOWN = pa.schema(
    {
        "step": pa.string(),
        "reason": pa.string(),
        "files": pa.int64(),
        "repository": pa.string(),
        "path": pa.string(),
        "value": pa.float64(),
        "keeper": pa.string(),
        "text": pa.string(),
        "cut": pa.bool_(),
    }
)
"""Columns of dropped files to look at: files: how many the step dropped for this first reason; value: of the signal;
keeper: repository and path of the file that stayed in its place; text: its start, cut where it goes on."""
MOST, LINES, CHARACTERS = 20, 40, 4000
"""Files that are shown for each reason, and of each file."""


def pool_of(raw: pa.Table, held_out: Sequence[str]) -> tuple[Files, list[str], Rows]:
    """Files of a raw table that can be read, and texts of the held-out packages, to which no file of the pool is near.

    Then the rows of a funnel, from the rows of the table to the pool. The popularity of a package is the number of
    other packages that import it.
    """
    rows = [row for row in raw.to_pylist() if row["text"] is not None]
    apart = [row["text"] for row in rows if row["package"] in held_out and row["text"].strip()]
    inside = [row for row in rows if row["package"] not in held_out]
    if not inside or not apart:
        raise InputError(f"pool: {len(inside)} files, {len(apart)} held out; there must be some of both")
    groups = near_groups([row["text"] for row in inside] + apart, RELATED)
    kin = np.isin(groups[: len(inside)], groups[len(inside) :])
    importers = _importers(inside)
    files = [
        File(i, row["package"], row["path"], row["text"], float(len(importers[row["package"]])))
        for i, row in enumerate(row for row, near in zip(inside, kin, strict=True) if not near)
    ]
    stays = [raw.num_rows, len(rows), len(inside), len(files)]
    sizes = [sum(len(row["text"]) for row in left) for left in (rows, inside)] + [sum(len(f.text) for f in files)]
    steps = zip(("unreadable", "held_out", "related_to_held_out"), stays, stays[1:], sizes, strict=False)
    funnel = [{"step": s, "files_in": i, "files_out": o, "characters": size} for s, i, o, size in steps]
    return files, apart, funnel


def _importers(rows: Rows) -> dict[str, set[str]]:
    packages = {row["package"] for row in rows}
    modules = {package.replace("-", "_"): package for package in packages}
    found: dict[str, set[str]] = {package: set() for package in packages}
    for row in rows:
        for name in _imports(row["text"]):
            if name in modules and modules[name] != row["package"]:
                found[modules[name]].add(row["package"])
    return found


def _statements(tree: ast.AST) -> list[ast.AST]:
    """All statements, without a look at their expressions, which are nine nodes of ten."""
    found, left = [], [tree]
    while left:
        node = left.pop()
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inside = getattr(node, name, None)
            left += inside if isinstance(inside, list) else []
        found.append(node)
    return found


def _imports(text: str) -> set[str]:
    try:
        nodes = _statements(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.split(".")[0] for name in names}


def with_forks(files: Files, copies: float, verbatim: float, seed: int) -> tuple[Files, dict[int, int]]:
    """The files and planted forks of their repositories, in a random order, and fork -> original by number.

    copies: forks of a file on average; the i-th repository of a random order has a share that falls as 1 / i. verbatim:
    share of copies without a change; the others have a header and one line that is new. Forks are not popular.
    """
    generator = numpy_generator(seed, "forks")
    names = generator.permutation(sorted({file.repository for file in files})).tolist()
    weights = 1 / np.arange(1, len(names) + 1)
    sizes = np.array([sum(file.repository == name for file in files) for name in names])
    number = dict(zip(names, np.rint(weights * copies * len(files) / (weights @ sizes)).astype(int), strict=True))
    pool, source = list(files), {}
    for file in files:
        for i in range(number[file.repository]):
            text = file.text
            if generator.random() >= verbatim:
                lines = text.splitlines(keepends=True)
                lines.insert(
                    int(generator.integers(len(lines) + 1)), f"# {file.repository} {generator.integers(10**9)}\n"
                )
                text = LICENCE.format(year=2000 + i, name=f"{file.repository} {i}") + "".join(lines)
            source[len(pool)] = file.number
            pool.append(File(len(pool), f"{file.repository}-{FORK}{i}", file.path, text, -1.0))
    order = generator.permutation(len(pool)).tolist()
    place = {old: new for new, old in enumerate(order)}
    shuffled = [replace(pool[old], number=new) for new, old in enumerate(order)]
    return shuffled, {place[fork]: place[original] for fork, original in source.items()}


def arms(
    pool: Files, thresholds: Mapping[str, Limits], similarity: float, share: float, seed: int
) -> dict[str, tuple[Files, list[Dropped], Rows]]:
    """Arm -> files that stay, those dropped, and the funnel; arms share their first steps.

    Headers are cut and private data masked in all arms alike, after their copies are gone, so that arms differ by
    what is dropped alone. The arm `popular` keeps repositories whose popularity is not below the mean.
    """

    def near(level: Level) -> Step:
        return lambda files: near_copies(files, level, similarity, seed)

    def then(start: str, name: str, steps: dict[str, Step]) -> None:
        files, dropped, funnel = found[start]
        kept, gone, more = run_recipe(files, steps)
        found[name] = (kept, [*dropped, *gone], [*funnel, *more])

    # Forks have a popularity below 0.
    mean = float(np.mean([*{file.repository: file.popularity for file in pool if file.popularity >= 0}.values()]))
    found: dict[str, tuple[Files, list[Dropped], Rows]] = {"pool": (pool, [], [])}
    then("pool", "raw", {"transform": transform})
    then("pool", "exact", {"exact": exact_copies, "transform": transform})
    then("pool", "file", {"exact": exact_copies, "near": near("file"), "transform": transform})
    then("pool", "repository", {"near": near("repository"), "transform": transform})
    then("file", "chunk", {"chunk": near("chunk")})
    then("file", "popular", {"popular": popular(mean)})
    then("file", "filter", {"filter": heuristic_filter({**THRESHOLDS, **thresholds})})
    then("filter", "downsample", {"downsample": downsample(share)})
    del found["pool"]
    return found


def fork_scores(pool: Files, dropped: Sequence[Dropped], source: Mapping[int, int]) -> dict[str, float]:
    """Precision and recall of dropped copies: a fork, or an original of which a fork or another original stays."""
    gone = {drop.number for drop in dropped if drop.reason in ("exact_copy", "near_copy")}
    of = {file.number: source.get(file.number, file.number) for file in pool}
    group: dict[int, list[int]] = {}
    for number, original in of.items():
        group.setdefault(original, []).append(number)
    surplus = sum(len(same) - 1 for same in group.values())
    right = sum(min(sum(n in gone for n in same), len(same) - 1) for same in group.values())
    return {"recall": right / max(surplus, 1), "precision": right / max(len(gone), 1)}


def tokens_of(texts: Sequence[str], tokenizer: Tokenizer) -> np.ndarray:
    """Tokens int64[n] of texts, each ended by token 0, one after another."""
    return encode(tokenizer, list(texts)).values.to_numpy().astype(np.int64)


class Held(NamedTuple):
    """Texts that judge: their tokens int64[n], and their bytes in all."""

    tokens: np.ndarray
    bytes: int


def held(texts: Sequence[str], tokenizer: Tokenizer) -> Held:
    """Texts as they judge every arm."""
    return Held(tokens_of(texts, tokenizer), sum(len(text.encode()) for text in texts))


def learned(
    files: Files, judges: Mapping[str, Held], tokenizer: Tokenizer, budget: int, order: int, seed: int
) -> dict[str, dict[str, float]]:
    """Split -> bits per token and per byte of an n-gram model that saw `budget` tokens of files in a random order.

    The place of a file in the order is drawn by its number, so that arms see the files they share in one order. Split
    train holds the bits of the training tokens themselves. Raises InputError where there are too few tokens.
    """
    place = numpy_generator(seed, "budget").random(1 + max((file.number for file in files), default=0))
    parts, size = [], 0
    for file in sorted(files, key=lambda file: place[file.number]):
        parts.append(tokens_of([file.text], tokenizer))
        size += len(parts[-1])
        if size >= budget:
            break
    if size < budget:
        raise InputError(f"budget: is {budget} tokens, and an arm has {size}; lower it")
    tokens = np.concatenate(parts)[:budget]
    model = fit_ngram(tokens, order, tokenizer.get_vocab_size())
    found = {"train": {"bits_per_token": float(-np.log2(model.probabilities(tokens)).mean())}}
    for split, judge in judges.items():
        bits = float(-np.log2(model.probabilities(judge.tokens)).sum())
        found[split] = {"bits_per_token": bits / len(judge.tokens), "bits_per_byte": bits / judge.bytes}
    return found


def filtered(texts: Sequence[str], thresholds: Mapping[str, Limits]) -> list[str]:
    """Those of the texts that the recipe's filter would keep."""
    files = [File(i, "", "", text) for i, text in enumerate(texts)]
    return [file.text for file in heuristic_filter({**THRESHOLDS, **thresholds})(files)[0]]


def judged(files: Sequence[File], thresholds: Mapping[str, Limits]) -> pa.Table:
    """`path, repository, dropped_by` and the signals of each file as the filter sees it, without its header.

    dropped_by: the first signal for which the filter drops it; null where it stays.
    """
    rows = []
    for file in transform(list(files))[0]:
        found = signals(file.text)
        failed = decide(found, {**THRESHOLDS, **thresholds}, file.text.encode("utf-8", "surrogatepass")).failed
        rows.append({"path": file.path, "repository": file.repository, "dropped_by": next(iter(failed), None)} | found)
    names = [(name, pa.string()) for name in ("path", "repository", "dropped_by")]
    return pa.Table.from_pylist(rows, pa.schema([*names, *((name, pa.float64()) for name in THRESHOLDS)]))


def shown(pool: Files, dropped: Sequence[Dropped], seed: int) -> pa.Table:
    """For each step and reason up to MOST of the files dropped, at random: a table of SHOWN."""
    files = {file.number: file for file in pool}
    groups: dict[tuple[str, str], list[Dropped]] = {}
    for drop in dropped:
        groups.setdefault((drop.step, drop.reason), []).append(drop)
    rows = []
    for (step, reason), gone in groups.items():
        order = numpy_generator(seed, "shown", step, reason).permutation(len(gone))[:MOST]
        for drop in (gone[i] for i in sorted(order)):
            file, keeper = files[drop.number], files.get(-1 if drop.keeper is None else drop.keeper)
            start = "".join(file.text.splitlines(keepends=True)[:LINES])[:CHARACTERS]
            row = {"step": step, "reason": reason, "files": len(gone), "repository": file.repository}
            row |= {"path": file.path, "text": start, "cut": len(start) < len(file.text)}
            row["value"] = signals(cleaned(file.text)).get(reason) if step == "filter" else None
            row["keeper"] = None if keeper is None else f"{keeper.repository}/{keeper.path}"
            rows.append(row)
    return pa.Table.from_pylist(rows, SHOWN)
