"""A language model that decodes from caches of few bits: what staircases lose beside one width and other orders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from winnow.compress.staircase_kv import (
    FullCache,
    KIVICache,
    SegmentCache,
    StaircaseCache,
    mixed,
    reverse,
    spread,
    staircase,
)
from winnow.errors import InputError
from winnow.models.multi_query_transformer import MultiQueryTransformer
from winnow.randomness import numpy_generator
from winnow.workloads.texts import Texts


class Policy(NamedTuple):
    """A kind of cache: who chooses its bits, those of a segment by its age, and how one is made."""

    system: str
    levels: tuple[int, ...]
    make: Callable[[], SegmentCache]

    def bits(self, segments: int) -> float:
        """Mean bits of a number in so many segments, without scales and zeros."""
        return float(np.mean(staircase(self.levels)(segments)))

    def variant(self, cut: Any) -> str:
        """Its levels and the quantised tokens when it is judged."""
        return f"{'-'.join(map(str, self.levels))}-t{cut.segment * cut.segments}"


def policies(cut: Any, uniform: list[int], staircases: list[list[int]], reordered: list[list[int]]) -> Iterator[Policy]:
    """All caches that are compared under a cut (segment, group, segments); the last four kinds for `reordered` alone.

    full: 16 bits. uniform: one width. staircase: rounded in a chain, all that a stream can do. direct: the same bits,
    each rounded from the numbers themselves. reverse and spread: the bits of direct, the finest for the oldest, or at
    even distances whatever the age.
    """
    size = {"segment": cut.segment, "group": cut.group}
    yield Policy("full", (16,), FullCache)
    for bits in uniform:
        yield Policy("uniform", (bits,), partial(KIVICache, bits, **size))
    for levels in map(tuple, staircases):
        yield Policy("staircase", levels, partial(StaircaseCache, (16, *levels), **size))
    for levels in map(tuple, reordered):
        for system, order in (("direct", staircase), ("reverse", reverse), ("spread", spread)):
            yield Policy(system, levels, partial(SegmentCache, order(levels), mode="direct", **size))
        yield Policy("mixed", levels, partial(SegmentCache, mixed(levels, cut.segments), **size))


def streams(workload: Texts, split: str, count: int, length: int) -> tuple[Tensor, Tensor]:
    """`count` stretches of tokens int64[count, length] of a split and the tokens that follow, drawn by one fixed seed.

    They may be longer than the windows of training. Raises InputError for a split that has fewer.
    """
    tokens = workload.tokens(split)
    there = (len(tokens) - 1) // length
    if there < count:
        raise InputError(f"{split}: has {there} streams of {length} tokens, {count} are asked for; ask for fewer")
    chosen = numpy_generator(0, "streams", split).permutation(there)[:count]
    found = torch.from_numpy(tokens[chosen[:, None] * length + np.arange(length + 1)].astype(np.int64))
    return found[:, :-1], found[:, 1:]


class Told(NamedTuple):
    """Streams int64[n, t], the tokens that follow, and the full model's log-probabilities of these and keys, values."""

    x: Tensor
    y: Tensor
    logs: Tensor
    keys_and_values: list[tuple[Tensor, Tensor]]


@torch.no_grad()
def told(model: MultiQueryTransformer, workload: Texts, cut: Any, count: int) -> Told:
    """The streams a cut is judged on: what fills its segments, and all but one token of one more."""
    x, y = streams(workload, "test", count, cut.segment * (cut.segments + 1) - 1)
    return Told(x, y, model(x).double().log_softmax(-1), model.keys_and_values(x))


def decoded(model: MultiQueryTransformer, policy: Policy, cut: Any, those: Told) -> dict[str, float]:
    """What decoding from a cache loses, over the tokens from the one that fills the last segment to its successor's.

    divergence: of the next token from the full model's [nats a token]; cross_entropy [nats a token]; bytes of a
    stream's cache, all layers, and its share of the full cache's, both as a mean over these tokens; bits of a number.
    The prompt's keys and values are the full model's, and go through the cache as a stream.
    """
    prompt, steps = cut.segment * cut.segments - 1, cut.segment
    caches = _prompted(policy, those.keys_and_values, prompt)
    sizes, divergence, losses = [], [], []
    for place in range(prompt, prompt + steps):
        logs = model.decode(those.x[:, place], place, caches).double().log_softmax(-1)
        full = those.logs[:, place]
        divergence.append(float((full.exp() * (full - logs)).sum(-1).mean()))
        losses.append(float(nn.functional.nll_loss(logs, those.y[:, place])))
        sizes.append(sum(cache.bytes() for cache in caches) / len(those.x))
    plain = 2 * sum(part[:1, :, :1].numel() for pair in those.keys_and_values for part in pair)
    return {
        "divergence": float(np.mean(divergence)),
        "cross_entropy": float(np.mean(losses)),
        "bytes": float(np.mean(sizes)),
        "share": float(np.mean(sizes)) / (plain * float(np.mean(range(prompt + 1, prompt + steps + 1)))),
        "bits": policy.bits(cut.segments),
    }


def tokens_per_second(model: MultiQueryTransformer, policy: Policy, cut: Any, those: Told) -> float:
    """Speed of decoding a single stream, the median over the tokens that `decoded` takes."""
    prompt = cut.segment * cut.segments - 1
    caches = _prompted(policy, [(keys[:1], values[:1]) for keys, values in those.keys_and_values], prompt)
    seconds = []
    for place in range(prompt, prompt + cut.segment):
        started = time.perf_counter()
        model.decode(those.x[:1, place], place, caches)
        seconds.append(time.perf_counter() - started)
    return 1 / float(np.median(seconds))


def sizes(policy: Policy, channels: int, lengths: range) -> list[dict[str, Any]]:
    """Bytes of one head's cache as tokens come in, rows of system, levels, tokens, bytes; numbers do not matter."""
    cache, rows = policy.make(), []
    for tokens in lengths:
        cache.append(*2 * [torch.zeros(1, 1, lengths.step, channels)])
        levels = "-".join(map(str, policy.levels))
        rows.append({"system": policy.system, "levels": levels, "tokens": tokens, "bytes": cache.bytes()})
    return rows


def _prompted(policy: Policy, layers: list[tuple[Tensor, Tensor]], length: int) -> list[SegmentCache]:
    caches = [policy.make() for _ in layers]
    for cache, (keys, values) in zip(caches, layers, strict=True):
        cache.append(keys[:, :, :length], values[:, :, :length])
    return caches
