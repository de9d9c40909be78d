"""Bases of layers in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from winnow.dictionaries.interaction_basis import Basis
from winnow.errors import InputError


def save_bases(bases: Mapping[str, Sequence[Basis]], path: Path | str) -> None:
    """Write kind -> bases of layers, first to last, in float64."""
    named = {
        f"{kind}.{layer}.{field}": getattr(basis, field).contiguous().clone()
        for kind, layers in bases.items()
        for layer, basis in enumerate(layers)
        for field in Basis._fields
    }
    save_file(dict(sorted(named.items())), path)


def load_bases(path: Path | str, dtype: torch.dtype = torch.float64) -> dict[str, list[Basis]]:
    """The same read again, kinds in the order of the alphabet; InputError for a file that holds none.

    dtype: of what turns values into coordinates and back; eigenvalues stay as they are.
    """
    tensors = load_file(path)
    kinds: dict[str, int] = {}
    for name in tensors:
        kind, layer, _ = name.rsplit(".", 2) if name.count(".") >= 2 else ("", "", "")
        if not layer.isdigit():
            raise InputError(f"{path}: tensor {name!r} belongs to no basis; run the stage that makes bases again")
        kinds[kind] = max(kinds.get(kind, 0), int(layer) + 1)
    if any(tensor.dtype != torch.float64 for tensor in tensors.values()):
        raise InputError(f"{path}: bases are not float64; run the stage that makes them again")

    def basis(name: str) -> Basis:
        into, back, mean, eigenvalues = (tensors[f"{name}.{field}"] for field in Basis._fields)
        return Basis(into.to(dtype), back.to(dtype), mean.to(dtype), eigenvalues)

    return {kind: [basis(f"{kind}.{layer}") for layer in range(kinds[kind])] for kind in sorted(kinds)}
