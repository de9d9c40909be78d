"""The levels of each unit of a language model, compressed beforehand, so that a candidate is a swap of weights.

Three kinds, as in Sieberling et al., "EvoPress", ICML 2025. depth: attention and feed-forward layers that are dropped
one by one; sparsity: weights of linear layers pruned by SparseGPT in steps of one count of weights; bits: the same
layers rounded by GPTQ to 2 to 6 bits. Layers are compressed block by block on what the blocks before, at their middle
level, let through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call

from winnow.compress._second_order import gptq, output_error, second_moment, sparse_obs
from winnow.compress.evopress import Space, State
from winnow.errors import InputError
from winnow.models.packing import FewBits
from winnow.models.transformer import Transformer

Kind = Literal["depth", "sparsity", "bits"]
BITS = (2, 3, 4, 5, 6)
GROUP = 128
"""Inputs that share a scale."""
LEVELS = 5
"""Levels of sparsity on either side of the middle."""
DROPPED = {"attention": "attention.output.weight", "mlp": "mlp.down.weight"}
"""A layer whose last weight is zero adds nothing to the residual stream: it is dropped."""


class Database:
    """Units, their levels, and the weights at each level.

    names: of the units. weights: unit -> level -> parameter name -> float32 tensor. errors: unit -> level -> squared
    error of the layer's outputs over their mean square, where layers were compressed. codes: parameter name -> bits ->
    the codes of a weight of few bits.
    """

    def __init__(
        self,
        kind: Kind,
        names: Sequence[str],
        weights: Sequence[dict[int, dict[str, Tensor]]],
        groups: Sequence[Sequence[int]],
        steps: Sequence[int],
        errors: Sequence[dict[int, float]] = (),
        codes: dict[str, dict[int, FewBits]] | None = None,
    ) -> None:
        self.kind, self.names, self.weights, self.errors, self.codes = kind, list(names), weights, errors, codes or {}
        self.space = Space(
            tuple(min(levels) for levels in weights),
            tuple(max(levels) for levels in weights),
            tuple(tuple(group) for group in groups),
            tuple(steps),
        )

    def parameters(self, state: State) -> dict[str, Tensor]:
        """Parameter name -> weight of all units at the levels of a state; raises InputError for a level it has not."""
        self.space.require(state)
        return {
            name: tensor
            for levels, level in zip(self.weights, state, strict=True)
            for name, tensor in levels[level].items()
        }


def depth_database(model: Transformer, whole_blocks: bool = False) -> Database:
    """Units that can be dropped: level 1 is dropped, 0 kept.

    whole_blocks: a unit is a block; otherwise attention and feed-forward layers are units of their own, in two groups.
    """
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    blocks = range(len(model.blocks))
    parts = [tuple(DROPPED)] if whole_blocks else [(part,) for part in DROPPED]
    names: list[str] = []
    weights, steps = [], []
    for together in parts:
        for block in blocks:
            last = [f"blocks.{block}.{DROPPED[part]}" for part in together]
            kept = {name: parameters[name] for name in last}
            names.append(f"blocks.{block}" + ("" if whole_blocks else f".{together[0]}"))
            weights.append({0: kept, 1: {name: torch.zeros_like(tensor) for name, tensor in kept.items()}})
            steps.append(1)
    count = len(blocks)
    return Database("depth", names, weights, [range(at, at + count) for at in range(0, len(names), count)], steps)


def calibrated(
    model: Transformer, windows: Tensor, settle: Callable[[str, Tensor, Tensor], Tensor]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each linear layer of the blocks, its weight and the second moment of its inputs, block by block.

    settle: (name, weight, second moment) -> the weight that goes in its place before the next block is looked at.
    windows: tokens int64[n, t]. The model is left as it is.
    """
    x: Tensor = model.embedding(windows)
    settled: dict[str, Tensor] = {}
    for index, block in enumerate(model.blocks):
        moments = _moments(block, x)
        for inner, moment in moments.items():
            name, weight = f"blocks.{index}.{inner}.weight", block.get_parameter(f"{inner}.weight").detach()
            settled[f"{inner}.weight"] = settle(name, weight, moment)
            yield name, weight, moment
        x = functional_call(block, settled, (x,))


def _moments(block: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Name of each linear layer of a block -> the second moment of its inputs, in the order of definition."""
    found: dict[str, Tensor] = {}
    layers = {name: layer for name, layer in block.named_modules() if isinstance(layer, nn.Linear)}
    handles = [
        layer.register_forward_pre_hook(
            lambda module, inputs, name=name: found.__setitem__(name, second_moment(inputs[0].flatten(0, -2)))
        )
        for name, layer in layers.items()
    ]
    try:
        block(x)
    finally:
        for handle in handles:
            handle.remove()
    return {name: found[name] for name in layers}


@torch.no_grad()
def layer_databases(
    model: Transformer, windows: Tensor, sparsity: float, progress: Callable[[int, int], None] | None = None
) -> tuple[Database, Database]:
    """The databases of sparsity around a share of zeros, and of bits around 3, from calibration windows int64[n, t].

    A level of sparsity more zeroes as many weights in each layer: half of min(sparsity, 1 - sparsity) of the smallest
    layer, in LEVELS steps. Raises InputError for a sparsity that leaves no room on either side.
    """
    if not 0 < sparsity < 1:
        raise InputError(f"sparsity: is {sparsity}; give a share between 0 and 1, so that layers can differ")
    layers = [layer for layer in model.blocks.modules() if isinstance(layer, nn.Linear)]
    step = int(min(sparsity, 1 - sparsity) / 2 / LEVELS * min(layer.weight.numel() for layer in layers))

    def pruned(name: str, weight: Tensor, moment: Tensor, level: int = 0) -> Tensor:
        return sparse_obs(weight, moment, (round(sparsity * weight.numel()) + level * step) / weight.numel())

    def rounded(name: str, weight: Tensor, moment: Tensor) -> Tensor:
        return gptq(weight, moment, 3, GROUP).dense()

    sparse, names, errors = [], [], []
    for done, (name, weight, moment) in enumerate(calibrated(model, windows, pruned)):
        levels = {level: pruned(name, weight, moment, level) for level in range(-LEVELS, LEVELS + 1)}
        names.append(name)
        sparse.append({level: {name: changed} for level, changed in levels.items()})
        errors.append({level: output_error(weight, changed, moment) for level, changed in levels.items()})
        if progress:
            progress(done + 1, 2 * len(layers))
    few, rounding, codes = [], [], {}
    for done, (name, weight, moment) in enumerate(calibrated(model, windows, rounded)):
        codes[name] = {bits: gptq(weight, moment, bits, GROUP) for bits in BITS}
        few.append({bits: {name: code.dense()} for bits, code in codes[name].items()})
        rounding.append({bits: output_error(weight, code.dense(), moment) for bits, code in codes[name].items()})
        if progress:
            progress(len(layers) + done + 1, 2 * len(layers))
    sizes = [layer.weight.numel() for layer in layers]
    groups = [[unit for unit, other in enumerate(sizes) if other == size] for size in dict.fromkeys(sizes)]
    every = [list(range(len(sizes)))]  # a level of sparsity is one count of weights everywhere
    return (
        Database("sparsity", names, sparse, every, [-step] * len(sizes), errors),
        Database("bits", names, few, groups, sizes, rounding, codes),
    )


def save_database(database: Database, path: Path | str) -> None:
    """Write a database of layers to one safetensors file: weights of sparsity, or codes with scales and zero points."""
    tensors: dict[str, Tensor] = {}
    for unit, name in enumerate(database.names):
        for level, changed in database.weights[unit].items():
            if database.kind == "bits":
                codes = database.codes[name][level]
                tensors |= {f"{name}|{level}|{part}": getattr(codes, part) for part in ("codes", "scale", "zero")}
            else:
                tensors[f"{name}|{level}"] = changed[name]
    note = {
        "kind": database.kind,
        "names": database.names,
        "groups": [list(group) for group in database.space.groups],
        "steps": list(database.space.steps),
        "errors": [{str(level): error for level, error in levels.items()} for levels in database.errors],
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"database": json.dumps(note)})


def load_database(path: Path | str) -> Database:
    """The database that `save_database` wrote; raises InputError for a file that is missing, damaged or incomplete."""
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads(file.metadata()["database"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        names, errors = note["names"], [{int(level): e for level, e in levels.items()} for levels in note["errors"]]
        codes: dict[str, dict[int, FewBits]] = {}
        weights = []
        for name, levels in zip(names, errors, strict=True):
            if note["kind"] == "bits":
                codes[name] = {
                    level: FewBits(
                        **{p: tensors[f"{name}|{level}|{p}"] for p in ("codes", "scale", "zero")},
                        bits=level,
                        group=GROUP,
                    )
                    for level in levels
                }
            dense = {level: codes[name][level].dense() if codes else tensors[f"{name}|{level}"] for level in levels}
            weights.append({level: {name: tensor} for level, tensor in dense.items()})
        return Database(note["kind"], names, weights, note["groups"], note["steps"], errors, codes)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; make the database again") from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no database of levels ({error}); make it again") from error
