"""What is left of language models after compression, through the one interface: text, bytes, memory and speed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from winnow.compress.staircase_kv import FullCache, StaircaseCache
from winnow.compress.streamed import StreamedTransformer
from winnow.evaluate.language_report import drawing_speeds, language_model_of
from winnow.evaluate.language_scores import text_scores
from winnow.evaluate.peak_memory import PeakMemory
from winnow.models import load_model
from winnow.train.ngram import fit_ngram
from winnow.train.ngram_reader import NGramReader
from winnow.workloads.texts import Texts

TRIED = 64
"""Tokens that are read and drawn where memory is counted, of those a context holds."""


class Artefact(NamedTuple):
    """A compressed model and the dense one it came from, its file, and the net that is read from it."""

    name: str
    dense: str
    path: Path
    net: nn.Module


def artefacts(
    models: Mapping[str, Path],
    evopress: Sequence[Path],
    routed: Path,
    streamed: Path,
    caches: Sequence[Sequence[int]],
    cut: Any,
    origins: Mapping[str, str],
) -> Iterator[Artefact]:
    """Dense and pruned models by their names, what EvoPress and Duo-LLM made, and a net that reads from caches.

    models: "<dense>" or "<dense>-<section>-s<percent>" -> file. streamed: a multi-query transformer, read from caches
    of these levels of bits, cut into segments and groups; [16] is all in full. origins: evopress, duo and caches -> the
    dense model that they came from.
    """
    for name, path in models.items():
        yield Artefact(name, name.partition("-")[0], path, load_model(path))
    for path in evopress:
        yield Artefact(f"evopress {path.stem}", origins["evopress"], path, load_model(path))
    yield Artefact("duo, routed", origins["duo"], routed, load_model(routed))
    for levels in caches:
        size = {"segment": cut.segment, "group": cut.group}
        make = partial(StaircaseCache, tuple(levels), **size) if len(levels) > 1 else FullCache
        net: Any = load_model(streamed)
        name = f"cache {'-'.join(map(str, levels))}"
        yield Artefact(name, origins["caches"], streamed, StreamedTransformer(net, make))


def told(workload: Texts, artefact: Artefact, texts: Sequence[str], tokens: int) -> tuple[dict, dict]:
    """Metrics and timings of an artefact.

    Metrics: bits_per_byte, cross_entropy and bytes_per_token of the texts; bytes of its files; peak_bytes of tensors,
    weights among them, while a text is read and another drawn; cache_bytes of keys and values after the text;
    parameters other than zero. Timings: tokens that are scored and drawn in a second of CPU time, one text at a time.
    """
    model: Any = language_model_of(workload, artefact.net, artefact.name)
    started = time.process_time()
    scores = text_scores(model, texts)
    scored = sum(len(model.encode(text)) for text in texts) / max(time.process_time() - started, 1e-9)
    few = model.encode(texts[0])[: min(TRIED, model.context_length - 1)]
    with PeakMemory(artefact.net.state_dict().values()) as memory:
        state = model.start([few])
        model.sample([few[: len(few) // 2]], max_tokens=TRIED // 2)
    card = artefact.path.with_suffix(".json")
    sizes = {"bytes": artefact.path.stat().st_size + card.stat().st_size}
    sizes |= {"peak_bytes": memory.peak, "cache_bytes": state.cache.bytes()}
    sizes |= {"parameters": sum(int(parameter.count_nonzero()) for parameter in artefact.net.parameters())}
    (drawn,) = drawing_speeds(model, [1], tokens).values()
    return scores | sizes, {"scored_per_second": scored, "drawn_per_second": drawn}


def told_of_ngram(workload: Texts, order: int, texts: Sequence[str]) -> dict[str, float]:
    """bits_per_byte and what else the texts tell of an n-gram model of the training split, and its parameters."""
    ngram = fit_ngram(workload.tokens("train"), order, workload.meta.vocabulary)
    scores = text_scores(language_model_of(workload, NGramReader(ngram), f"{order}-gram"), texts)
    return scores | {"parameters": ngram.parameters}
