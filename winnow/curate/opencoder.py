"""The recipe of OpenCoder for a corpus of code: copies, near copies, headers, filters, down-sampling, all counted.

Huang et al., "OpenCoder: The Open Cookbook for Top-Tier Code Large Language Models", ACL 2025. Every step takes files
and returns those that stay, with the reason of each that goes, so that counts add up.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import Literal

import numpy as np

from winnow.curate.code_signals import Limits, decide, signals
from winnow.errors import InputError
from winnow.workloads.minhash import candidate_pairs, components, jaccard, minhash, shingles, words

Level = Literal["file", "repository", "chunk"]
KNEE = (1 / 16) ** (1 / 128)
"""Similarity at which 16 bands of 128 rows are as likely to find a pair as to miss it: 0.9786, as the paper has it."""
BANDS, ROWS = 32, 4
CHUNK_LINES, LEAST_LINES = 20, 5
"""Lines of a chunk on average, and below which one stays wherever it stands again."""
HEADER = re.compile(r"copyright|licen[cs]e|all rights reserved|spdx", re.IGNORECASE)
PRIVATE = {
    "<EMAIL>": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "<IP>": re.compile(r"\b(?!(?:127|10|0|255)\.)(?:\d{1,3}\.){3}\d{1,3}\b"),
    "<PASSWORD>": re.compile(r"(?i)((?:password|passwd|secret|api_key|token)\s*=\s*[\"'])[^\"'\s]{8,}(?=[\"'])"),
}


PART = {
    "<EMAIL>": re.compile(r"@(?<=[\w.+-]@)[\w-]+\.[\w-]"),
    "<IP>": re.compile(r"\.\d{1,3}\.\d{1,3}\.\d"),
    "<PASSWORD>": re.compile(r"=\s*[\"'][^\"'\s]{8,}[\"']"),
}
"""A part of each that begins with one certain sign, for which a search is a hundred times as fast."""


@dataclass(frozen=True)
class File:
    """A file of a pool."""

    number: int
    """Of the file in the pool."""
    repository: str
    path: str
    text: str
    popularity: float = 0.0
    """Of the repository: of copies the one of the most popular stays."""
    cut: int = 0
    """Chunks that were cut out of the text."""


@dataclass(frozen=True)
class Dropped:
    """Why a file went."""

    number: int
    step: str
    reason: str
    keeper: int | None = None
    """The file that stayed in its place."""


Files = list[File]
Step = Callable[[Files], tuple[Files, list[Dropped]]]


def run_recipe(files: Files, steps: Mapping[str, Step]) -> tuple[Files, list[Dropped], list[dict[str, int | str]]]:
    """Take files through named steps: what stays, what was dropped, and rows step, files_in, files_out, characters."""
    dropped: list[Dropped] = []
    funnel: list[dict[str, int | str]] = []
    for name, step in steps.items():
        kept, gone = step(files)
        if len(kept) + len(gone) != len(files):
            raise ValueError(f"{name}: {len(files)} files went in, {len(kept)} stay and {len(gone)} went")
        size = sum(len(file.text) for file in kept)
        funnel.append({"step": name, "files_in": len(files), "files_out": len(kept), "characters": size})
        files, dropped = kept, dropped + [replace(drop, step=name) for drop in gone]
    return files, dropped, funnel


def exact_copies(files: Files) -> tuple[Files, list[Dropped]]:
    """Of equal texts (SHA-256) one stays: of the most popular repository, then the one that comes first."""
    digests = [sha256(file.text.encode("utf-8", "surrogatepass")).hexdigest() for file in files]
    return _keep_one(files, np.unique(digests, return_inverse=True)[1], "exact_copy")


def near_copies(
    files: Files, level: Level = "file", similarity: float = KNEE, seed: int = 0
) -> tuple[Files, list[Dropped]]:
    """Of near copies one stays, at the level of files, of repositories as a whole, or of chunks of some 20 lines.

    similarity: Jaccard, of runs of five tokens, from which on two count as near; it is computed exactly for candidates
    that MinHash finds in 32 bands of 4 rows. Chunks end where the content of three lines says so, whatever stands
    before, and are cut out of the files in which they come again; a file of which nothing is left is dropped. Raises
    InputError for a similarity outside (0, 1].
    """
    if level == "chunk":
        return _without_known_chunks(files)
    keys = [str(file.number) if level == "file" else file.repository for file in files]
    names, first, unit = np.unique(keys, return_index=True, return_inverse=True)
    texts = ["".join(files[i].text for i in np.flatnonzero(unit == u)) for u in range(len(names))]
    groups = near_groups(texts, similarity, seed)
    if level == "file":
        return _keep_one(files, groups[unit], "near_copy")
    stays, gone = _keep_one([files[i] for i in first], groups, "near_copy")
    kept = {file.repository for file in stays}
    keeper = {files[i].repository: drop.keeper for i in first for drop in gone if drop.number == files[i].number}
    return (
        [file for file in files if file.repository in kept],
        [Dropped(f.number, "", "near_copy", keeper[f.repository]) for f in files if f.repository not in kept],
    )


def near_groups(texts: Sequence[str], similarity: float, seed: int = 0) -> np.ndarray:
    """Component int64[texts] of texts that are near, directly or through others."""
    if not 0 < similarity <= 1:
        raise InputError(f"similarity: is {similarity}; give more than 0 and at most 1")
    found = shingles([words(text) for text in texts])
    pairs = candidate_pairs(minhash(found, BANDS * ROWS, seed), BANDS, ROWS)
    return components(len(texts), pairs[jaccard(found, pairs) >= similarity])


def _keep_one(files: Files, groups: np.ndarray, reason: str) -> tuple[Files, list[Dropped]]:
    keeper: dict[int, File] = {}
    for file, group in zip(files, groups.tolist(), strict=True):
        other = keeper.get(group)
        if other is None or (-file.popularity, file.number) < (-other.popularity, other.number):
            keeper[group] = file
    kept, gone = [], []
    for file, group in zip(files, groups.tolist(), strict=True):
        if keeper[group] is file:
            kept.append(file)
        else:
            gone.append(Dropped(file.number, "", reason, keeper[group].number))
    return kept, gone


def _without_known_chunks(files: Files) -> tuple[Files, list[Dropped]]:
    seen: set[bytes] = set()
    kept, gone = [], []
    for file in sorted(files, key=lambda file: (-file.popularity, file.number)):
        parts = chunks(file.text)
        digests = [_digest("".join(lines)) for lines in parts]
        left = [
            "".join(lines)
            for lines, digest in zip(parts, digests, strict=True)
            if len(lines) < LEAST_LINES or digest not in seen
        ]
        seen.update(digests)
        if left:
            kept.append(replace(file, text="".join(left), cut=len(parts) - len(left)))
        else:
            gone.append(Dropped(file.number, "", "known_chunks"))
    return sorted(kept, key=lambda file: file.number), gone


def chunks(text: str) -> list[list[str]]:
    """The lines of a text in chunks: one ends after a line if the hash of it and the two before is a multiple of 20.

    What stands further up does not matter, so that lines that are put in move no chunk but their own.
    """
    lines = text.splitlines(keepends=True)
    found: list[list[str]] = [[]]
    for i, line in enumerate(lines):
        found[-1].append(line)
        if int.from_bytes(_digest("".join(lines[max(i - 2, 0) : i + 1])), "big") % CHUNK_LINES == 0:
            found.append([])
    return [part for part in found if part]


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def transform(files: Files) -> tuple[Files, list[Dropped]]:
    """Cut headers and mask what is private; every file stays."""
    return [replace(file, text=cleaned(file.text)) for file in files], []


@lru_cache(maxsize=1 << 12)  # each arm of a comparison asks for the same files
def cleaned(text: str) -> str:
    """A text without a header of copyright or licence, and with placeholders for what is private."""
    return mask_private(strip_header(text))


def strip_header(text: str) -> str:
    """A text without the comments at its start, if they speak of copyright or licence; #! and coding lines stay."""
    lines = text.splitlines(keepends=True)
    start = 0
    while start < len(lines) and (lines[start].startswith("#!") or re.match(r"#.*coding[:=]", lines[start])):
        start += 1
    end = start
    while end < len(lines) and (lines[end].startswith("#") or not lines[end].strip()):
        end += 1
    if not HEADER.search("".join(lines[start:end])):
        return text
    return "".join(lines[:start] + lines[end:])


def mask_private(text: str) -> str:
    """A text with placeholders for e-mail addresses, public IP addresses and passwords that are assigned."""
    for name, pattern in PRIVATE.items():
        if not PART[name].search(text):
            continue
        text = pattern.sub(rf"\g<1>{name}" if pattern.groups else name, text)
    return text


def heuristic_filter(thresholds: Mapping[str, Limits]) -> Step:
    """A step that drops files whose signals lie outside the thresholds; the reason is the first of them."""

    def step(files: Files) -> tuple[Files, list[Dropped]]:
        kept, gone = [], []
        for file in files:
            decision = decide(signals(file.text), thresholds, file.text.encode("utf-8", "surrogatepass"))
            if decision.keep:
                kept.append(file)
            else:
                gone.append(Dropped(file.number, "", decision.failed[0]))
        return kept, gone

    return step


def uninformative(path: str, text: str) -> str | None:
    """The class of a file of little to learn from: test, or data (most lines are in literals); None for others."""
    name = path.rsplit("/", 1)[-1]
    if name.startswith("test_") or name.endswith("_test.py") or "/tests/" in f"/{path}":
        return "test"
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    literals = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return "data" if len(literals) > 0.5 * max(len(text.splitlines()), 1) else None


def spared(content: bytes, share: float) -> bool:
    """Whether this content is of the share that stays; its hash decides."""
    digest = blake2b(content, digest_size=8, person=b"downsample").digest()
    return int.from_bytes(digest, "big") / 2**64 < share


def downsample(share: float) -> Step:
    """A step that keeps a share of the files of uninformative classes, chosen by the hash of their text."""

    def step(files: Files) -> tuple[Files, list[Dropped]]:
        kept, gone = [], []
        for file in files:
            kind = uninformative(file.path, file.text)
            if kind is None or spared(file.text.encode("utf-8", "surrogatepass"), share):
                kept.append(file)
            else:
                gone.append(Dropped(file.number, "", kind))
        return kept, gone

    return step


def popular(least: float) -> Step:
    """A step that keeps files of repositories of at least this popularity."""

    def step(files: Files) -> tuple[Files, list[Dropped]]:
        return (
            [file for file in files if file.popularity >= least],
            [Dropped(file.number, "", "unpopular") for file in files if file.popularity < least],
        )

    return step
