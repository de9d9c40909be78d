"""Language models of every back end side by side: held-out texts, learning curves, speed, and texts that they write."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from winnow.errors import InputError
from winnow.models.language_model import LanguageModel
from winnow.workloads.texts import Texts

if TYPE_CHECKING:
    from winnow.train.ngram import NGram

Made = TypeVar("Made")
PIECE = 2_000
"""Characters of a document that are judged, about; they end with a line."""
SAMPLES = pa.schema(
    {
        "model": pa.string(),
        "prompt": pa.string(),
        "sample": pa.int32(),
        "text": pa.large_string(),
        "finish": pa.string(),
        "tokens": pa.list_(pa.string()),
        "logprobs": pa.list_(pa.float32()),
    }
)
"""tokens: the text in pieces, as the model wrote it; logprobs: of each, in nats."""


def opened(
    workload: Texts,
    nets: Mapping[str, Path],
    ngrams: Mapping[str, NGram],
    published: Mapping[str, Path],
    endpoint: Any,
    answers: Path,
) -> Iterator[tuple[str, LanguageModel | InputError]]:
    """Name and language model of each trained model, n-gram model, published file and endpoint, one after another.

    In place of a published file that cannot be read, and of an endpoint that does not answer, stands why.
    endpoint: url, model, key and context of a server, whose answers are kept in the file `answers`; None is none.
    """
    from winnow.models import load_model
    from winnow.models.gguf_files import read_gguf
    from winnow.train.ngram_reader import NGramReader

    for name, path in nets.items():
        yield name, language_model_of(workload, load_model(path), name)
    for name, ngram in ngrams.items():
        yield name, language_model_of(workload, NGramReader(ngram), name)
    for name, path in published.items():
        yield name, _or_why_not(partial(read_gguf, path, name))
    if endpoint is not None:
        from winnow.models.endpoint import EndpointLanguageModel

        asked = (endpoint.url, endpoint.model, endpoint.key, answers, endpoint.context)
        yield "endpoint", _or_why_not(partial(EndpointLanguageModel, *asked))


def _or_why_not(make: Callable[[], Made]) -> Made | InputError:
    try:
        return make()
    except InputError as error:
        return error


def language_model_of(workload: Texts, net: Any, name: str) -> LanguageModel:
    """A net of a workload with its tokenizer; the context is the workload's, and the token before it."""
    from winnow.curate.byte_pairs import load_tokenizer
    from winnow.models.small_language_model import SmallLanguageModel
    from winnow.models.vocabulary import byte_level

    tokenizer = load_tokenizer(workload.folder / "tokenizer.json")
    return SmallLanguageModel(net, byte_level(tokenizer), workload.meta.context, name)


def unseen_split(workload: Texts) -> str:
    """The split that is furthest from the training texts: held_out, or test where nothing is held out."""
    from winnow.pipeline.tables import read_parquet

    apart = read_parquet(workload.folder / "held_out.parquet", ["bytes"])
    return "held_out" if apart.num_rows else "test"


def judged_texts(workload: Texts, split: str, size: int) -> list[str]:
    """The beginnings of documents of a split, in stored order, of about so many bytes together; whole lines.

    Raises InputError for a split without texts.
    """
    from winnow.pipeline.tables import read_parquet

    path, found = workload.folder / f"{split}.parquet", []
    for text in read_parquet(path, ["text"])["text"].to_pylist():
        end = text.find("\n", PIECE)
        found.append(text if end < 0 else text[: end + 1])
        size -= len(found[-1].encode())
        if size <= 0:
            break
    if not any(found):
        raise InputError(f"{path}: holds no text; run the curate stage again")
    return found


class Measured(NamedTuple):
    """What the report tells of one model; scores are None of one that does not score texts."""

    scores: dict[str, float] | None
    """`text_scores`, with the costs of them."""
    samples: list[dict[str, Any]]
    """Rows of `SAMPLES`."""
    costs: dict[str, float]
    """Of what was drawn."""
    speeds: dict[str, float]


def measured(model: LanguageModel | InputError, name: str, texts: Sequence[str], params: Any) -> Measured | InputError:
    """What a model says of texts, what it draws after params' prompts, at what costs and how fast.

    In place of it stands why a model could not be opened, or why one behind an endpoint, whose server may die, could
    not be measured to the end. Raises InputError where a model that is here cannot be measured.
    """
    from winnow.models.endpoint import EndpointLanguageModel

    if isinstance(model, InputError):
        return model
    measure = partial(_measured, model, name, texts, params)
    return _or_why_not(measure) if isinstance(model, EndpointLanguageModel) else measure()


def _measured(model: LanguageModel, name: str, texts: Sequence[str], params: Any) -> Measured:
    from winnow.evaluate.language_scores import text_scores
    from winnow.models.counted import Counted

    counted = Counted(model)
    scores = text_scores(counted, texts) | counted.taken() if "score" in model.capabilities else None
    samples = drawn(counted, name, params.prompts, params, params.seed)
    return Measured(scores, samples, counted.taken(), drawing_speeds(model, params.batches, params.tokens))


def drawing_speeds(model: LanguageModel, batches: Sequence[int], tokens: int) -> dict[str, float]:
    """tokens_per_second_batch<n>: tokens drawn in a second of CPU time, of n texts of so many tokens side by side."""
    found = {}
    for batch in batches:
        started = time.process_time()
        (samples,) = model.sample([model.encode("")], n=batch, max_tokens=tokens)
        drawn = sum(len(sample.token_ids) for sample in samples)
        found[f"tokens_per_second_batch{batch}"] = drawn / max(time.process_time() - started, 1e-9)
    return found


def drawn(model: LanguageModel, name: str, prompts: Sequence[str], params: Any, seed: int) -> list[dict[str, Any]]:
    """Rows of `SAMPLES`: texts after each prompt, with params' samples, tokens, temperature and top_p."""
    options = {"n": params.samples, "max_tokens": params.tokens, "temperature": params.temperature}
    found = model.sample([model.encode(prompt) for prompt in prompts], top_p=params.top_p, seed=seed, **options)
    return [
        {
            "model": name,
            "prompt": prompt,
            "sample": number,
            "text": sample.text,
            "finish": sample.finish,
            "tokens": pieces(model, sample.token_ids),
            "logprobs": sample.logprobs.tolist(),
        }
        for prompt, group in zip(prompts, found, strict=True)
        for number, sample in enumerate(group)
    ]


def pieces(model: LanguageModel, ids: np.ndarray) -> list[str]:
    """The text of each token; of a character that several make up, the last has it and the others nothing."""
    texts = [model.decode(ids[: end + 1].tolist()).rstrip("\ufffd") for end in range(len(ids))]
    return [text[len(before) :] for before, text in zip(["", *texts], texts, strict=False)]


def learning_curve(history: pa.Table, bytes_per_token: float) -> list[tuple[str, float, int]]:
    """(metric, bits a byte, step) of a model's training: bits_per_byte of batches, and of the valid split.

    history: rows of the metrics schema with loss [nats a token] and valid_bits_per_byte. bytes_per_token: of the
    training split.
    """
    rows = [row for row in history.to_pylist() if row["step"] is not None]
    scale = 1 / math.log(2) / bytes_per_token
    batches = [("bits_per_byte", row["value"] * scale, row["step"]) for row in rows if row["metric"] == "loss"]
    valid = [(row["metric"], row["value"], row["step"]) for row in rows if row["metric"] == "valid_bits_per_byte"]
    return batches + valid


def abilities(model: LanguageModel | InputError) -> dict[str, Any]:
    """What is told of a model: its back end's digest, sizes and capabilities, and `ok` where nothing is missing.

    Of one that could not be opened or measured: `refused`, and why.
    """
    if isinstance(model, InputError):
        return {"verdict": "refused", "why": str(model)}
    lacking = sorted({"score", "sample", "seeded"} - set(model.capabilities))
    return {
        "capabilities": sorted(model.capabilities),
        "context_length": model.context_length,
        "digest": model.digest,
        "verdict": "degraded" if lacking else "ok",
        "vocabulary": model.vocab_size,
    }
