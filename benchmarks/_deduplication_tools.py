"""Candidate pairs of near-duplicate texts by winnow, datasketch and rensa in one process; prints rows as JSON.

Run by deduplication.py in the environment of the peers. All have the same words, runs of five words, 128 hashes in 32
bands of 4 rows.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import datasketch
import numpy as np
import rensa

from winnow.randomness import numpy_generator
from winnow.workloads.minhash import SHINGLE, Shingles, candidate_pairs, jaccard, minhash, shingles, words

BANDS, ROWS = 32, 4
NEAR = 0.8
VOCABULARY, LENGTH = 5000, 300

Pairs = set[tuple[int, int]]


def corpus(count: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts of 300 words that follow Zipf's law, a third of them edited copies of others, and those pairs."""
    generator = numpy_generator(0, "deduplication")
    chances = 1 / np.arange(1, VOCABULARY + 1)
    rows = list(generator.choice(VOCABULARY, (2 * count // 3, LENGTH), p=chances / chances.sum()))
    planted = []
    for original in range(count - len(rows)):
        copy = rows[original].copy()
        at = generator.integers(0, LENGTH, int(generator.integers(1, 9)))
        copy[at] = generator.integers(0, VOCABULARY, len(at))
        planted.append((original, len(rows)))
        rows.append(copy)
    return [" ".join(f"w{word}" for word in row) for row in rows], planted


def runs_of(text: str) -> list[str]:
    found = words(text)
    return [" ".join(found[i : i + SHINGLE]) for i in range(max(1, len(found) - SHINGLE + 1))]


def by_winnow(texts: list[str]) -> Pairs:
    signatures = minhash(shingles([words(text) for text in texts]), BANDS * ROWS)
    return set(map(tuple, candidate_pairs(signatures, BANDS, ROWS).tolist()))


def by_datasketch(texts: list[str]) -> Pairs:
    index = datasketch.MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    pairs = set()
    for number, text in enumerate(texts):
        signature = datasketch.MinHash(num_perm=BANDS * ROWS)
        signature.update_batch([run.encode() for run in set(runs_of(text))])
        pairs |= {(other, number) for other in index.query(signature)}
        index.insert(number, signature)
    return pairs


def by_rensa(texts: list[str]) -> Pairs:
    index = rensa.RMinHashLSH(threshold=NEAR, num_perm=BANDS * ROWS, num_bands=BANDS)
    signatures = rensa.RMinHash.from_token_sets([runs_of(text) for text in texts], BANDS * ROWS, 42)
    index.insert_many(signatures)
    found = index.query_all(signatures)
    return {(other, number) for number, others in enumerate(found) for other in others if other < number}


TOOLS: dict[str, Callable[[list[str]], Pairs]] = {
    "winnow": by_winnow,
    "datasketch": by_datasketch,
    "rensa": by_rensa,
}


def similarities(found: Shingles, pairs: Pairs | list[tuple[int, int]]) -> np.ndarray:
    return jaccard(found, np.array(sorted(pairs), np.int64).reshape(-1, 2))


def main(count: int, repeats: int) -> list[dict[str, float | str]]:
    texts, planted = corpus(count)
    found = shingles([words(text) for text in texts])
    near = {pair for pair, s in zip(planted, similarities(found, planted), strict=True) if s >= NEAR}
    outputs = {tool: run(texts) for tool, run in TOOLS.items()}  # also warms up
    seconds: dict[str, list[float]] = {tool: [] for tool in TOOLS}
    for _ in range(repeats):
        for tool, run in TOOLS.items():
            start = time.process_time()
            run(texts)
            seconds[tool].append(time.process_time() - start)
    rows = []
    for tool, taken in seconds.items():
        speeds = [count / s for s in taken]
        row = {"tool": tool, "speed": statistics.median(speeds), "lowest": min(speeds), "highest": max(speeds)}
        row["recall"] = len(near & outputs[tool]) / len(near)
        row["candidates"] = len(outputs[tool])
        row["near"] = float(np.mean(similarities(found, outputs[tool]) >= NEAR))
        rows.append(row)
    peer = next(row["speed"] for row in rows if row["tool"] == "datasketch")
    return [row | {"ratio": row["speed"] / peer} for row in rows]


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
