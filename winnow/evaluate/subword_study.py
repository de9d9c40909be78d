"""Sub-word vocabularies of one corpus beside one another: code lengths, proved optima, and language models on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from winnow.curate.pair_merges import Score
from winnow.curate.subword import Subwords, likeliest, refit, search_swe, train_pairs, train_unigram
from winnow.curate.subword_exact import exact_swe
from winnow.curate.subword_lattice import Words, pack, words_of
from winnow.curate.subword_search import likelihood
from winnow.randomness import numpy_generator
from winnow.train.ngram import fit_ngram

MERGES: dict[str, Score] = {"bpe": "count", "wordpiece": "gain", "wordpiece_ratio": "ratio"}
Rows = list[dict[str, Any]]
NEAR = 1.01
WINDOWS = 4  # of a step


def vocabularies(words: Words, size: int, *, longest: int, tries: int, alpha: float) -> dict[str, Subwords]:
    """Method -> its vocabulary of one size: merges with greedy and with best cuts, unigram, search, and the optimum.

    The optimum is the likeliest of the search and of the merges with best cuts, so it cannot lose to these; the search,
    among whose candidates their pieces are, can.
    """
    merged = {name: train_pairs(words, size, score) for name, score in MERGES.items()}
    found = dict(merged)
    for name, rival in merged.items():
        found[f"{name}_viterbi"] = refit(words, rival)
    found["unigram"] = train_unigram(words, size, longest=longest)
    pieces = [piece for rival in merged.values() for piece in rival.pieces]
    found["swe_search"] = search_swe(words, size, longest=longest, tries=tries, more=pieces)
    found["swe"] = likeliest([found["swe_search"], *(found[f"{name}_viterbi"] for name in merged)])
    return {name: Subwords(v.pieces, v.counts, v.rules, alpha) for name, v in found.items()}


def code_bits(subwords: Subwords, words: Words) -> tuple[np.ndarray, np.ndarray]:
    """Bits float64[words] of each word under smoothed probabilities, and its pieces int64[words]."""
    tokens, ends = subwords.cut(words)
    sums = np.concatenate([[0.0], np.cumsum(-subwords.log_probabilities[tokens] / np.log(2))])
    return np.diff(sums[ends]), np.diff(ends)


def measure(subwords: Subwords, words: Words, files: Sequence[dict[bytes, int]]) -> dict[str, Any]:
    """Split -> bits_per_byte and tokens_per_word, and bits per byte of each file.

    train: J by the vocabulary's own counts; held_out: the words of the files, with smoothing; unseen: those of them
    that are not among the words trained on, where there are any.
    """
    total: dict[bytes, int] = {}
    for file in files:
        for word, count in file.items():
            total[word] = total.get(word, 0) + count
    held = pack(total)
    bits, pieces = code_bits(subwords, held)
    lengths = np.diff(held.ends)
    known = {words.values[a:b].tobytes() for a, b in zip(words.ends, words.ends[1:], strict=False)}
    masks = {"held_out": np.ones(len(bits), bool), "unseen": np.array([word not in known for word in total])}
    found: dict[str, Any] = {
        "train": {
            "bits_per_byte": -likelihood(subwords.counts) / np.log(2) / words.size,
            "tokens_per_word": subwords.counts.sum() / words.counts.sum(),
        }
    }
    for split in [name for name, mask in masks.items() if mask.any()]:
        weights = held.counts * masks[split]
        found[split] = {
            "bits_per_byte": weights @ bits / (weights @ lengths),
            "tokens_per_word": weights @ pieces / weights.sum(),
        }
    number = {word: i for i, word in enumerate(total)}
    found["files"] = []
    for file in files:
        at, counts = np.array([number[word] for word in file]), np.array(list(file.values()))
        found["files"].append(counts @ bits[at] / (counts @ lengths[at]))
    return found


def small_corpus(generator: np.random.Generator) -> dict[bytes, int]:
    """Up to six words of two to six letters a, b and c, made of four stems, with counts."""
    stems = [bytes(generator.choice(list(b"abc"), int(generator.integers(1, 4))).tolist()) for _ in range(4)]
    words: dict[bytes, int] = {}
    for _ in range(40):
        word = b"".join(stems[i] for i in generator.integers(0, 4, int(generator.integers(1, 4))))
        if len(words) < 6 and 2 <= len(word) <= 6:
            words[word] = int(generator.integers(1, 30))
    return dict(sorted(words.items()))


def against_optimum(corpora: int, seed: int) -> dict[str, float]:
    """Shares of random small corpora with a proved optimum, and of those in which a search comes within 1 % of it."""
    generator = numpy_generator(seed, "small corpora")
    near, proved, excess = 0, 0, []
    for _ in range(corpora):
        counts = small_corpus(generator)
        words = pack(counts)
        exact = exact_swe(counts, 259)
        merged = [piece for score in MERGES.values() for piece in train_pairs(words, 259, score).pieces]
        ratio = likelihood(search_swe(words, 259, more=merged).counts) / exact.value
        proved += exact.proved
        near += exact.proved and ratio <= NEAR
        excess.append(ratio - 1)
    return {
        "near_optimum": near / max(proved, 1),
        "proved": proved / corpora,
        "mean_excess": float(np.mean(excess)),
    }


class Encoded(NamedTuple):
    """Contents as tokens of one vocabulary, which has `vocabulary` of them, and the bytes of each."""

    tokens: list[np.ndarray]
    """int64[n] of each content, one higher than the pieces' numbers, ended by token 0."""
    sizes: list[int]
    vocabulary: int


def encoded(subwords: Subwords, contents: Sequence[bytes]) -> Encoded:
    """Contents as tokens; each different word is cut once."""
    number: dict[bytes, int] = {}
    split = [[number.setdefault(word, len(number)) for word in words_of(content)] for content in contents]
    tokens, ends = subwords.cut(pack(list(number)))
    cut = np.split(tokens + 1, ends[1:-1])
    parts = [np.concatenate([*map(cut.__getitem__, words), [0]]) for words in split]
    return Encoded(parts, [len(content) for content in contents], len(subwords.pieces) + 1)


def ngram_bits(train: Encoded, test: Encoded, order: int) -> float:
    """Bits per byte of test contents, by an n-gram model of the tokens of the training contents."""
    model = fit_ngram(np.concatenate(train.tokens), order, train.vocabulary)
    chances = model.probabilities(np.concatenate(test.tokens))
    return float(-np.log2(chances).sum() / sum(test.sizes))


def transformer_bits(
    train: Encoded,
    test: Encoded,
    *,
    context_bytes: int,
    steps: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Bits per byte of test contents by a small transformer that saw as many bytes, whatever the tokenizer.

    A window holds context_bytes bytes on average; there are `steps` steps of `WINDOWS` windows in one pass.
    """
    import torch

    from winnow.models.fitting import final_metrics, fit
    from winnow.pipeline.tables import write_parquet
    from winnow.workloads.text_tables import TextMeta
    from winnow.workloads.texts import Texts

    rate = sum(map(len, train.tokens)) / sum(train.sizes)
    context = max(8, round(context_bytes * rate))
    seen = np.concatenate(train.tokens)[: steps * WINDOWS * context + context]
    metadata = TextMeta(train.vocabulary, context).encode()
    with TemporaryDirectory() as folder:
        for split, tokens, sizes in (("train", [seen], [1]), ("valid", test.tokens, test.sizes)):
            ends = pa.array(np.concatenate([[0], np.cumsum([len(part) for part in tokens])]).astype(np.int64))
            lists = pa.LargeListArray.from_arrays(ends, pa.array(np.concatenate(tokens).astype(np.uint16)))
            write_parquet(pa.table({"tokens": lists, "bytes": sizes}), Path(folder, f"{split}.parquet"), metadata)
        workload = Texts(folder)
        model = workload.build("transformer", seed=seed, width=64, layers=2, heads=2)
        history = fit(
            model,
            workload,
            epochs=1,
            optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=6e-3, fused=True),
            schedule=lambda share: min(1.0, share * 20) * (1 - share),
            batch_size=WINDOWS,
            seed=seed,
            progress=progress,
        )
        return final_metrics(history)["bits_per_byte"]


def pieces_rows(found: dict[str, Subwords], size: int, seed: int) -> Rows:
    """A row for each longer piece of each vocabulary: method, size, seed, piece, bytes, count."""
    return [
        {
            "method": method,
            "size": size,
            "seed": seed,
            "piece": piece.decode("utf-8", "backslashreplace"),
            "bytes": len(piece),
            "count": float(count),
        }
        for method, subwords in found.items()
        for piece, count in zip(subwords.pieces, subwords.counts, strict=True)
        if len(piece) > 1
    ]


def cut_rows(found: dict[str, Subwords], words: Words, number: int) -> Rows:
    """How methods cut frequent identifiers of eight bytes and more: word, method, pieces; the very first are whole."""
    counted = {
        words.values[a:b].tobytes(): n for a, b, n in zip(words.ends, words.ends[1:], words.counts, strict=False)
    }
    names = [w for w in counted if len(w) >= 8 and w.decode("utf-8", "replace").isidentifier()]
    chosen = sorted(names, key=lambda word: (-counted[word], word))[5 * number : 6 * number]
    return [
        {
            "word": word.decode(),
            "method": method,
            "pieces": " ".join(subwords.decode([t]).decode("utf-8", "backslashreplace") for t in subwords.encode(word)),
        }
        for word in chosen
        for method, subwords in found.items()
    ]
