"""Models: a registry of small architectures, and files that hold them without pickles.

A model is two files: `<path>` (safetensors) and `<path>` with the suffix .json, its card: registry name,
constructor arguments, workload, names of the masked weights. A masked weight takes `<name>.values` (kept
entries in flat order) and `<name>.mask` (packed bits), so that a pruned model is small on disk as well; one of eight
bits its integers, and `<name>.scale` of each output channel; one of other bits the packed `<name>.codes`, and scale
and zero of each run of inputs.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from winnow.architectures import ARCHITECTURES
from winnow.errors import InputError
from winnow.models.packing import FewBits, pack, unpack
from winnow.randomness import stream_seed

SMALLEST_SIDE = 8


def build(name: str, *, seed: int = 0, **arguments: Any) -> nn.Module:
    """A new model of the registry; equal seeds and arguments give equal parameters.

    The model remembers `registry_name` and `arguments` (defaults filled in, JSON values only). Raises
    InputError for an unknown name, an argument that is unknown, missing or of the wrong type, or an image
    below 8 x 8.
    """
    if name not in ARCHITECTURES:
        raise InputError(f"model: unknown name {name!r}; {_suggestion(name, ARCHITECTURES)}")
    filled = _fill(name, arguments)
    # Forked, so that building a model does not move the caller's random stream.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "model", name))
        try:
            model = architecture(name)(**filled)
        except (TypeError, ValueError, RuntimeError, IndexError, ZeroDivisionError) as error:
            raise InputError(f"model {name}: arguments {filled} do not make a model ({error})") from error
    model.registry_name, model.arguments = name, filled  # type: ignore[assignment]
    # Convolutions take half the time on a CPU when channels lie last in memory; shapes do not change.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def architecture(name: str) -> type[nn.Module]:
    """The class of a name of the registry; its module is imported here and no other."""
    module, _, kind = ARCHITECTURES[name].rpartition(".")
    found: type[nn.Module] = getattr(import_module(module), kind)
    return found


def _fill(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the constructor's defaults, as JSON knows them (tuples are lists)."""
    signature = inspect.signature(architecture(name))
    for key in arguments:
        if key not in signature.parameters:
            raise InputError(f"model {name}: unknown argument {key!r}; {_suggestion(key, signature.parameters)}")
    try:
        bound = signature.bind(**arguments)
    except TypeError as error:
        raise InputError(f"model {name}: {error}; add it") from error
    bound.apply_defaults()
    for side in ("height", "width"):
        value = bound.arguments.get(side, SMALLEST_SIDE)
        if not isinstance(value, int) or value < SMALLEST_SIDE:
            raise InputError(f"model {name}: {side} is {value}; give images of at least 8 x 8 pixels")
    filled: dict[str, Any] = json.loads(json.dumps(bound.arguments))
    return filled


def _suggestion(wrong: str, names: Any) -> str:
    near = get_close_matches(wrong, list(names), n=1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(names)}"


def save_model(
    model: nn.Module,
    path: str | Path,
    workload: str,
    masks: dict[str, Tensor] | None = None,
    scales: dict[str, Tensor] | None = None,
    packed: Mapping[str, FewBits] | None = None,
) -> None:
    """Write a model made by `build` to `path` and its card beside it; equal models give equal bytes.

    masks: parameter name -> bool, True where kept; entries outside a mask are not stored and load as zero.
    scales: parameter name -> float32[output channels] of weights that are whole multiples of these, up to 127;
    they are stored in eight bits. packed: parameter name -> the codes that give a weight, stored in its place.
    Raises InputError for masks, scales and codes that fit no weight.
    """
    path, masks, scales = Path(path), masks or {}, scales or {}
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    for name, scale in scales.items():
        state[name] = _integers(path, name, state.get(name), scale)
    for name, mask in masks.items():
        if name not in state or state[name].shape != mask.shape:
            raise InputError(f"{path}: the mask {name!r} fits no weight of the model; prune this model again")
        state[f"{name}.values"] = state.pop(name)[mask]
        state[f"{name}.mask"] = torch.from_numpy(numpy.packbits(mask.flatten().numpy()))
    state |= {f"{name}.scale": scale for name, scale in scales.items()}
    for name, few in (packed or {}).items():
        if name not in state or not torch.equal(few.dense(), state.pop(name)):
            raise InputError(f"{path}: the codes of {name!r} do not give a weight of the model; round this model again")
        state |= {f"{name}.codes": pack(few.codes, few.bits), f"{name}.scale": few.scale, f"{name}.zero": few.zero}
    # Cloned, because safetensors refuses tensors that share memory.
    save_file({name: state[name].contiguous().clone() for name in sorted(state)}, path)
    card: dict[str, Any] = {
        "arguments": model.arguments,
        "masked": sorted(masks),
        "model": model.registry_name,
        "workload": workload,
    }
    if scales:
        card["quantized"] = sorted(scales)
    if packed:
        card["packed"] = {name: [few.bits, few.group] for name, few in packed.items()}
    path.with_suffix(".json").write_text(json.dumps(card, indent=2, sort_keys=True) + "\n")


def _integers(path: Path, name: str, weight: Tensor | None, scale: Tensor) -> Tensor:
    """The whole numbers int8 that give a weight when multiplied by the scale of their output channel."""
    if weight is None or scale.shape != weight.shape[:1]:
        raise InputError(f"{path}: the scales of {name!r} fit no weight of the model; round this model again")
    integers = (weight / _along(scale, weight)).round()
    if integers.abs().max() > 127 or not torch.equal(integers * _along(scale, weight), weight):
        raise InputError(f"{path}: {name} is not of eight bits at its scales; round this model again")
    return integers.to(torch.int8)


def _along(scale: Tensor, weight: Tensor) -> Tensor:
    return scale.view(-1, *[1] * (weight.ndim - 1))


def load_card(path: str | Path) -> dict[str, Any]:
    """The card beside the model at `path`: arguments, masked, model, packed (to bits, group), quantized, workload."""
    card_path = Path(path).with_suffix(".json")
    try:
        card = {"packed": {}, "quantized": []} | json.loads(card_path.read_text())
        fields = [(card[key], kind) for key, kind in _CARD.items()]
        fields += [(name, str) for name in [*card["masked"], *card["quantized"]]]
    except FileNotFoundError as error:
        raise InputError(f"{card_path}: no such file; make the model again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{card_path}: is not the card of a model; make the model again") from error
    if not all(isinstance(value, kind) for value, kind in fields):
        raise InputError(f"{card_path}: a field has the wrong type; make the model again")
    checked: dict[str, Any] = card
    return checked


_CARD: dict[str, type] = {
    "arguments": dict,
    "masked": list,
    "model": str,
    "packed": dict,
    "quantized": list,
    "workload": str,
}


def load_model(path: str | Path) -> nn.Module:
    """The model at `path` in eval mode, masked weights filled up with zeros.

    Raises InputError, naming the file, if it is missing, damaged, or does not fit its card.
    """
    card, tensors = load_card(path), _read_tensors(path)
    model = _rebuild(path, card)
    expected = model.state_dict()
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    for name in card["masked"]:
        mask = _unpack(path, tensors, name, shapes)
        values = tensors.pop(f"{name}.values", None)
        if values is None or values.shape != (int(mask.sum()),):
            raise InputError(f"{path}: {name} has not one value per kept entry; make the model again")
        tensors[name] = torch.zeros(mask.shape, dtype=values.dtype).masked_scatter_(mask, values)
        del tensors[f"{name}.mask"]
    for name in card["quantized"]:
        scale, integers = tensors.pop(f"{name}.scale", None), tensors.get(name)
        if scale is None or integers is None or integers.dtype != torch.int8 or scale.shape != integers.shape[:1]:
            raise InputError(f"{path}: {name} is not of eight bits with a scale for each channel; make the model again")
        tensors[name] = integers * _along(scale, integers)
    for name, (bits, group) in card["packed"].items():
        tensors[name] = _of_few_bits(path, tensors, name, bits, group, expected)
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    if found != {name: (tensor.shape, tensor.dtype) for name, tensor in expected.items()}:
        raise InputError(f"{path}: does not hold the {card['model']} of its .json file; make the model again")
    model.load_state_dict(tensors)
    return model.eval()


def _of_few_bits(
    path: str | Path, tensors: dict[str, Tensor], name: str, bits: int, group: int, expected: dict[str, Tensor]
) -> Tensor:
    codes, scale, zero = (tensors.pop(f"{name}.{part}", None) for part in ("codes", "scale", "zero"))
    shape = expected[name].shape if name in expected else (0, 0)
    try:
        if codes is None or scale is None or zero is None:
            raise InputError("parts are missing")
        runs = (shape[0], -(-shape[1] // group))
        if scale.shape != runs or zero.shape != runs:
            raise InputError(f"scales and zeros are not {runs}")
        return FewBits(unpack(codes, bits, shape[0] * shape[1]).view(shape), scale, zero, bits, group).dense()
    except (InputError, TypeError, ZeroDivisionError, IndexError) as error:
        raise InputError(f"{path}: {name} is not of {bits} bits ({error}); make the model again") from error


def load_masks(path: str | Path) -> dict[str, Tensor]:
    """The masks of the model at `path`: parameter name -> bool of the weight's shape; none if it is dense."""
    card, tensors = load_card(path), _read_tensors(path)
    shapes = {name: t.shape for name, t in _rebuild(path, card).state_dict().items()}
    return {name: _unpack(path, tensors, name, shapes) for name in card["masked"]}


def _rebuild(path: str | Path, card: dict[str, Any]) -> nn.Module:
    try:
        return build(card["model"], **card["arguments"])
    except (InputError, TypeError) as error:
        raise InputError(f"{Path(path).with_suffix('.json')}: {error}; make the model again") from error


def _read_tensors(path: str | Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; make the model again") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: is damaged or not a safetensors file; make the model again") from error
    return tensors


def _unpack(path: str | Path, tensors: dict[str, Tensor], name: str, shapes: dict[str, torch.Size]) -> Tensor:
    bits, shape = tensors.get(f"{name}.mask"), shapes.get(name)
    if bits is None or shape is None or bits.dtype != torch.uint8 or bits.shape != (-(-shape.numel() // 8),):
        raise InputError(f"{path}: the mask of {name} is missing or of the wrong size; make the model again")
    flat = numpy.unpackbits(bits.numpy(), count=shape.numel()).astype(bool)
    return torch.from_numpy(flat).view(shape)
