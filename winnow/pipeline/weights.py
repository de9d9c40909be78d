"""Published weights: from a verified archive to plain tensors."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.pipeline._unpack import read_members
from winnow.pipeline.acquire import acquire, find_source


def read_weights(source_id: str, sources_path: Path | str, cache_dir: Path | str | None = None) -> dict[str, Tensor]:
    """The tensors of a pinned state dict, by name; nothing but tensors is unpickled.

    Raises InputError for a source that holds data instead, and for a file that is no state dict.
    """
    member, data = _member("torch_state", source_id, sources_path, cache_dir)
    try:
        tensors = torch.load(io.BytesIO(data), weights_only=True)
        if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
            raise ValueError("it holds more than tensors")
    except (pickle.UnpicklingError, RuntimeError, ValueError, AttributeError, EOFError) as error:
        raise InputError(f"{source_id}: {member}: no state dict ({str(error).splitlines()[0][:120]})") from error
    return dict(tensors)


def read_language_model(source_id: str, sources_path: Path | str, cache_dir: Path | str | None = None) -> bytes:
    """The GGUF file of a pinned language model, as it was published; InputError for a source of something else."""
    member, data = _member("gguf", source_id, sources_path, cache_dir)
    if not data.startswith(b"GGUF"):
        raise InputError(f"{source_id}: {member}: is no GGUF file; correct `member`")
    return data


def _member(reader: str, source_id: str, sources_path: Path | str, cache_dir: Path | str | None) -> tuple[str, bytes]:
    """Name and content of the file that a pin of this reader names."""
    pin = find_source(source_id, sources_path)
    if pin.reader != reader:
        raise InputError(
            f"{sources_path}: {source_id} holds something else (reader {pin.reader}); name one of {reader}"
        )
    (data,) = read_members(acquire(source_id, sources_path, cache_dir), pin.member).values()
    return pin.member, data
