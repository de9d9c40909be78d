"""Feed-forward layers of bytes' language models, dense and of experts, and a dictionary of a dense one, in training."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.sae import SaeConfig, fit
from winnow.errors import InputError
from winnow.models import build
from winnow.models.experts import Activation, Dense, MoEX, Router, balance_loss, with_feed_forward
from winnow.models.hooks import capture, run_with
from winnow.models.transformer import Block, Transformer
from winnow.randomness import numpy_generator, stream_seed, torch_generator
from winnow.train.byte_language import VOCABULARY, Report, drawn_starts, train_steps, windows_at
from winnow.train.moe_x import expert_trace, upcycled
from winnow.workloads.byte_properties import byte_properties

NOISE = 0.01
History = list[tuple[str, float, int]]


class Arm(NamedTuple):
    """A kind of feed-forward layer; `grown` starts as a dense one of an expert's size for half of the steps."""

    name: str
    experts: bool
    activation: Activation
    router: Router = "sparsity"
    wide: bool = False
    grown: bool = False


ARMS = (
    Arm("dense", False, "gelu"),
    Arm("dense_wide", False, "relu", wide=True),
    Arm("switch", True, "gelu", "learned"),
    Arm("relu_experts", True, "relu", "learned"),
    Arm("quiet_router", True, "gelu"),
    Arm("moe_x", True, "relu"),
    Arm("dense_continued", False, "relu", grown=True),
    Arm("switch_upcycled", True, "gelu", "learned", grown=True),
    Arm("relu_experts_upcycled", True, "relu", "learned", grown=True),
    Arm("quiet_router_upcycled", True, "gelu", grown=True),
    Arm("moe_x_upcycled", True, "relu", grown=True),
)
BEGUN: dict[Activation, str] = {"relu": "moe_x_upcycled", "gelu": "switch_upcycled"}
"""The arms that name the streams of the dense halves, which all grown arms of an activation have in common."""
Begun = dict[Activation, tuple[Transformer, History]]


def trained(arm: Arm, symbols: np.ndarray, params: Any, report: Report, begun: Begun) -> tuple[Transformer, History]:
    """A model and its history; arms start from equal other weights and see equal windows.

    begun: the dense halves that were trained before, to which this call adds the one it needs.
    """
    if not arm.grown:
        return _steps(_model(arm.name, arm, params), symbols, params, params.steps, params.seed, report)
    first = params.steps // 2
    if arm.activation not in begun:
        small = _model(BEGUN[arm.activation], arm, params)
        begun[arm.activation] = _steps(small, symbols, params, first, params.seed, report)
    model, history = copy.deepcopy(begun[arm.activation])
    if arm.experts:
        _grow(model, arm, params)
    seed = stream_seed(params.seed, "moe x", "later")
    model, later = _steps(model, symbols, params, params.steps - first, seed, report)
    return model, history + [(metric, value, step + first) for metric, value, step in later]


def _model(stream: str, arm: Arm, params: Any) -> Transformer:
    model = build("transformer", seed=params.seed, vocabulary=VOCABULARY, width=params.width, layers=params.layers)
    assert isinstance(model, Transformer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(params.seed, "moe x", stream))
        return with_feed_forward(model, [_layer(arm, params) for _ in model.blocks])


def _layer(arm: Arm, params: Any) -> nn.Module:
    if arm.experts and not arm.grown:
        return MoEX(params.width, params.hidden, params.experts, params.k, arm.router, arm.activation)
    # As many units at work as k experts have, as all have, or as one has.
    times = 1 if arm.grown else params.experts if arm.wide else params.k
    return Dense(params.width, times * params.hidden, arm.activation)


def _grow(model: Transformer, arm: Arm, params: Any) -> None:
    generator = torch_generator(params.seed, "moe x", "noise")
    grown: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(params.seed, "moe x", "routers"))  # a learned router begins by chance
        for block in model.blocks:
            assert isinstance(block, Block) and isinstance(block.mlp, Dense)
            grown.append(upcycled(block.mlp, params.experts, params.k, arm.router, NOISE, generator))
    with_feed_forward(model, grown)


def _steps(
    model: Transformer, symbols: np.ndarray, params: Any, steps: int, seed: int, report: Report
) -> tuple[Transformer, History]:
    history = train_steps(
        model,
        symbols,
        steps=steps,
        batch_size=params.batch_size,
        length=params.context,
        learning_rate=params.learning_rate,
        seed=seed,
        extra_loss=lambda: balance_loss(model),
        report=report,
    )
    return model, history


class Spliced(nn.Module):
    """A model whose last feed-forward layer adds what a dictionary makes of what it would add."""

    def __init__(self, model: Transformer, dictionary: Dictionary) -> None:
        super().__init__()
        self.model, self.dictionary = model, dictionary
        self.hook = f"blocks.{len(model.blocks) - 1}.mlp"

    def forward(self, x: Tensor) -> Tensor:
        return run_with(self.model, x, self.hook, self.dictionary.reconstruct)

    def codes(self, x: Tensor) -> Tensor:
        """float32[n * t, latents] of tokens int64[n, t]."""
        return self.dictionary.dense(capture(self.model, x, self.hook))


@torch.no_grad()
def spliced(model: Transformer, symbols: np.ndarray, at_work: float, params: Any, report: Report) -> Spliced:
    """A dense model with a dictionary of what its last layer adds: as many latents as all experts have units.

    at_work: how many are active at a byte. The dictionary is fitted on windows of the text the model was trained on.
    """
    generator = numpy_generator(params.seed, "moe x", "dictionary")
    count = -(-params.dictionary_rows // params.context)
    x = windows_at(symbols, drawn_starts(symbols, count, params.context, generator), params.context)
    rows = torch.cat([capture(model, part, f"blocks.{len(model.blocks) - 1}.mlp") for part in x.split(params.windows)])
    size = params.experts * params.hidden
    config = SaeConfig(
        m=size,
        k=min(max(1, round(at_work)), size - 1),
        steps=params.dictionary_steps,
        batch=params.dictionary_batch,
        seed=params.seed,
    )
    dictionary, _ = fit(rows, config, progress=report)
    return Spliced(model, dictionary)


def labelled(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Bytes uint8[n] of the files that parse, laid end to end, and their properties bool[n, p]."""
    found = [(text, marks) for text in texts if (marks := byte_properties(text)) is not None]
    if not found:
        raise InputError("properties: no file parses as Python; give Python sources")
    symbols = np.frombuffer(b"".join(text.encode() for text, _ in found), np.uint8)
    return symbols, np.concatenate([marks for _, marks in found])


def texts(symbols: np.ndarray, params: Any) -> Tensor:
    """Windows int64[n, t], one after another, whose tokens ask for experts as often as is traced."""
    starts = params.context * np.arange(len(symbols) // params.context)
    longest = -(-params.requests // (params.context * params.k * params.layers))
    return windows_at(symbols, starts[:longest], params.context)


def requested(model: Transformer, x: Tensor, params: Any) -> np.ndarray:
    """int64[requests]: the experts that tokens int64[n, t] ask for, as `expert_trace` numbers them."""
    found: np.ndarray = expert_trace(model, x)[: params.requests].numpy()
    return found
