"""Slimming: a model in which whole units are dead, rewritten as a smaller dense model with the same outputs.

Which layers hang together is observed, not read off the code. Every layer runs alone, with one unit of it NaN
in each row of a batch; where a NaN arrives, that place depends on the unit. So shortcuts and loops over time
need no special case. What a model computes from no input at all is found alike, with an input of NaN.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from winnow.compress._masking import Masks, apply_masks
from winnow.randomness import torch_generator

ROWS = 256  # of a probing batch, at most
EQUAL = 1e-9  # relative to the largest output, in double precision: rounding stays far below
SAME = 1e-12  # relative; a constant summed in another order at another place is still the same constant
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

Layers = dict[str, Any]
Units = dict[str, Tensor]
Hook = Callable[[str, Any, Tensor, Tensor], Tensor | None]


class Reads(NamedTuple):
    """bool[units, columns]: does the column depend on the unit, by no other layer that mixes its inputs?

    units: producer -> how many: mixing layers and "", the model's input as one unit. columns: reader -> how many:
    mixing and channelwise layers and "", the model's output as one column.
    """

    matrix: Tensor
    units: dict[str, int]
    columns: dict[str, int]


def slim(model: nn.Module, masks: Masks | None, example: Tensor) -> nn.Module:
    """A copy of a model, in eval mode, without the units that its outputs do not depend on.

    masks: parameter name -> bool, False where a weight counts as zero; None takes the zeros of the weights.
    example: a batch of inputs [n, ...]; its rows must stay apart in every layer.

    A unit is an output of a linear layer or a channel of a convolution with one group. It is dead where every
    weight that reads it is zero or belongs to a dead unit, or where it is a constant, which moves into the
    biases of the layers that read it. A constant other than 0 cannot move into a convolution that pads: at the
    border that reads zeros instead. Units joined by a sum go together or not at all; batch norm and depthwise
    convolutions follow the layer before them. Inputs and outputs of the model keep their size, each layer keeps
    a unit at least, and layers whose size the model's own code fixes (the state of a recurrent cell) keep all.

    Outputs equal those of the masked model up to the order of summation: within 1e-9 of the largest output in
    double precision, which is checked here, and about 1e-5 in single precision. A smaller model loses the
    attributes `registry_name` and `arguments`. Raises InputError for a mask that fits no parameter.
    """
    dtype = next(model.parameters()).dtype
    masked = apply_masks(copy.deepcopy(model), masks or {}).double().eval()
    noise = torch.randn(example.shape, generator=torch_generator(0, "slim"), dtype=torch.float64)
    with torch.no_grad():
        slimmed = _without_dead_units(masked, torch.cat([example.double(), noise]))
    if slimmed is not masked:
        for name in {"registry_name", "arguments"} & vars(slimmed).keys():
            delattr(slimmed, name)
    # Laid out as `build` does, so that times can be compared.
    return slimmed.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _without_dead_units(model: nn.Module, inputs: Tensor) -> nn.Module:
    reads, constants = _dependencies(model, inputs), _constant_inputs(model, inputs[:1])
    expected = model(inputs)
    smaller, gone, producers = model, torch.zeros(len(reads.matrix), dtype=torch.bool), set[str]()
    for name in constants:
        units, columns, free = _removable(model, reads, constants, producers | {name})
        if not torch.equal(units, gone):
            parts = _split(units, reads.units), _split(columns, reads.columns), _split(free, reads.columns)
            candidate = _rewritten(model, *parts, constants)
            if not _gives(candidate, inputs, expected):
                continue
            smaller, gone = candidate, units
        producers.add(name)
    return smaller


def _split(values: Tensor, sizes: dict[str, int]) -> Units:
    return dict(zip(sizes, values.split(list(sizes.values())), strict=True))


def _gives(model: nn.Module, inputs: Tensor, expected: Tensor) -> bool:
    try:
        found = model(inputs)
    except RuntimeError:  # a size that the model's own code fixes
        return False
    return found.shape == expected.shape and bool((found - expected).abs().max() <= EQUAL * expected.abs().max())


def _mixing(model: nn.Module) -> Layers:
    """Layers of which every output reads every input."""
    kinds = (nn.Linear, *CONVOLUTIONS)
    return {n: m for n, m in model.named_modules() if isinstance(m, kinds) and getattr(m, "groups", 1) == 1}


def _channelwise(model: nn.Module) -> Layers:
    """Layers that treat each channel by itself: depthwise convolutions and batch norm."""
    return {
        n: m
        for n, m in model.named_modules()
        if (isinstance(m, CONVOLUTIONS) and 1 < m.groups == m.in_channels == m.out_channels)
        or (isinstance(m, NORMS) and m.running_mean is not None)
    }


@contextmanager
def _hooked(layers: Layers, hook: Hook) -> Iterator[None]:
    with ExitStack() as stack:
        for key, layer in layers.items():
            handle = layer.register_forward_hook(lambda m, args, out, name=key: hook(name, m, args[0], out))
            stack.enter_context(handle)
        yield


def _units_second(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer reads or writes, as a view [rows, units, ...]."""
    return x.movedim(-1, 1) if isinstance(layer, nn.Linear) else x


def _dependencies(model: nn.Module, inputs: Tensor) -> Reads:
    sizes = {"": 1} | {name: len(layer.weight) for name, layer in _mixing(model).items()}
    batches = [(name, units) for name, size in sizes.items() for units in torch.arange(size).split(ROWS)]
    parts = [_probe(model, inputs, name, units) for name, units in batches]
    matrix = torch.cat([torch.cat(list(part.values()), dim=1) for part in parts])
    return Reads(matrix, sizes, {reader: found.shape[1] for reader, found in parts[0].items()})


def _probe(model: nn.Module, inputs: Tensor, producer: str, units: Tensor) -> Units:
    mixing, found = _mixing(model), dict[str, Tensor]()

    def mark(name: str, layer: Any, x: Tensor, out: Tensor) -> Tensor | None:
        arrived = _units_second(layer, x).isnan().unsqueeze(-1).flatten(2).any(2)
        found[name] = found.get(name, torch.zeros_like(arrived)) | arrived
        if name not in mixing:
            return None
        out = torch.zeros_like(out)
        if name == producer:
            _units_second(layer, out)[torch.arange(len(units)), units] = torch.nan
        return out

    start = inputs.new_full((len(units), *inputs.shape[1:]), 0.0 if producer else torch.nan)
    with _hooked(mixing | _channelwise(model), mark):
        output = model(start)
    return found | {"": output.isnan().flatten(1).any(1, keepdim=True)}


def _constant_inputs(model: nn.Module, example: Tensor) -> Units:
    """Mixing layer that runs -> [columns]: the value of a column at every position and run, NaN where it varies."""
    found: Units = {}

    def keep(name: str, layer: Any, x: Tensor, out: Tensor) -> Tensor:
        columns = _units_second(layer, x)[0].reshape(layer.weight.shape[1], -1)
        lowest, highest = columns.aminmax(dim=1)
        earlier = found.get(name, lowest)
        same = (highest - lowest).abs() + (earlier - lowest).abs() <= SAME * highest.abs()
        found[name] = torch.where(same, lowest, torch.nan)
        return settle(name, layer, x, out)

    def settle(name: str, layer: Any, x: Tensor, out: Tensor) -> Tensor:
        """The output, NaN where a weight other than zero reads NaN: 0 * NaN is no dependence."""
        if isinstance(layer, NORMS):
            return out
        pattern = copy.deepcopy(layer)
        pattern.weight.data, pattern.bias = (layer.weight != 0).double(), None
        reached = pattern.forward(x.isnan().double()) > 0  # a call would run the hooks again
        result: Tensor = layer.forward(x.nan_to_num())
        return result.masked_fill(reached, torch.nan)

    with _hooked(_mixing(model), keep), _hooked(_channelwise(model), settle):
        model(torch.full_like(example, torch.nan))
    return found


def _removable(model: nn.Module, reads: Reads, constants: Units, producers: set[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Units of `producers` that can go, the columns that go with them, and those that need not be read any more.

    The largest such sets. The last holds more columns than the second: of a dead layer one unit stays, unread.
    """
    mixing = _mixing(model)
    dead = torch.cat([torch.full((size,), name in producers) for name, size in reads.units.items()])
    reached = _split(reads.matrix.any(0), reads.columns)
    reached[""] = torch.tensor([False])
    while True:
        rows = _split(dead, reads.units)
        free = {r: _free_columns(mixing[r], rows[r], constants[r]) for r in constants}
        columns = torch.cat([found & free.get(r, found) for r, found in reached.items()])
        units, columns = _closed(dead, columns, reads.matrix)
        if torch.equal(units, dead):
            break
        dead = units
    units = units.clone()
    for unit in _split(units, reads.units).values():
        unit[0] &= not unit.all()
    return *_closed(units, columns, reads.matrix), columns


def _free_columns(layer: Any, dead: Tensor, constants: Tensor) -> Tensor:
    """Columns that a layer can lose: read by dead units alone, or a constant that the bias can take over."""
    unread = (layer.weight[~dead] == 0).transpose(0, 1).flatten(1).all(1)
    pads = not isinstance(layer, nn.Linear) and layer.padding not in ("valid", (0,) * len(layer.kernel_size))
    return unread | (constants == 0 if pads else ~constants.isnan())


def _closed(units: Tensor, columns: Tensor, reads: Tensor) -> tuple[Tensor, Tensor]:
    """The largest part in which a unit has all columns that depend on it, a column all units it depends on."""
    while True:
        columns = columns & ~reads[~units].any(0)
        needed = units & reads[:, ~columns].any(1)
        if not needed.any():
            return units, columns
        units = units & ~needed


def _rewritten(model: nn.Module, units: Units, columns: Units, free: Units, constants: Units) -> nn.Module:
    smaller = copy.deepcopy(model)
    for name, layer in _mixing(smaller).items():
        if name in constants:
            _drop_columns(layer, columns[name], free[name], constants[name])
            _keep_rows(layer, ~units[name])
    for name, layer in _channelwise(smaller).items():
        if name in columns:
            _keep_rows(layer, ~columns[name])
            if isinstance(layer, CONVOLUTIONS):
                layer.groups = layer.in_channels = layer.out_channels
    return smaller


def _keep_rows(layer: Any, kept: Tensor) -> None:
    for name, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
        if tensor.ndim:
            getattr(layer, name).data = tensor[kept]
    size = next(s for s in ("out_features", "out_channels", "num_features") if hasattr(layer, s))
    setattr(layer, size, int(kept.sum()))


def _drop_columns(layer: Any, gone: Tensor, free: Tensor, constants: Tensor) -> None:
    read = layer.weight[:, free].unsqueeze(-1).flatten(2).sum(2)
    moved = read @ constants[free].nan_to_num()  # what varies is NaN, and read by dead units alone
    if layer.bias is not None:
        layer.bias.data = layer.bias + moved
    elif moved.any():
        layer.bias = nn.Parameter(moved)
    weight = layer.weight.clone()
    weight[:, free] = 0
    layer.weight.data = weight[:, ~gone]
    setattr(layer, "in_features" if isinstance(layer, nn.Linear) else "in_channels", int((~gone).sum()))
