"""A fitted dictionary: codes of activations, reconstructions from codes, and two files that hold it.

`dictionary.safetensors` has the weights with the normalisation of the training rows folded in, so raw
activations go in and come out; `dictionary.json` beside it says how they were made.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from winnow.dictionaries.codes import Backend, Code, Compact, Dense, make_backend
from winnow.errors import InputError

FORMAT = 1
TENSORS = ("W_enc", "W_dec", "b_dec_in", "b_dec_out", "b_enc", "threshold")
ENTRIES_AT_ONCE = 2**22


class Sparse(NamedTuple):
    """Active latents of n rows, by rising index: values float32[n, k], indices int64[n, k].

    Rows with fewer than k active latents end in entries of value 0 and index 0.
    """

    values: Tensor
    indices: Tensor


@dataclass(frozen=True)
class Dictionary:
    """m latents between activations of d_in and d_out dimensions (equal for an autoencoder).

    W_enc float32[d_in, m], b_enc[m], W_dec[m, d_out] with rows of unit norm, b_dec_in[d_in],
    b_dec_out[d_out], threshold[m]. architecture: what it was trained as. activation: "topk" keeps the k
    largest positive pre-activations of a row, "jumprelu" those above the latent's threshold. info: what else
    the json file says (hook, rows, seed, metrics).
    Raises InputError for shapes that disagree, values that are not finite, k > m, a decoder row off unit norm.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec_in: Tensor
    b_dec_out: Tensor
    threshold: Tensor
    architecture: str
    activation: str
    k: int | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self, "dictionary")

    @property
    def m(self) -> int:
        """Number of latents."""
        return self.W_dec.shape[0]

    def pre_activations(self, x: Tensor) -> Tensor:
        """(x - b_dec_in) W_enc + b_enc: float32[n, m] for x float32[n, d_in]."""
        return torch.addmm(self.b_enc, x - self.b_dec_in, self.W_enc)

    def encode(self, x: Tensor) -> Sparse:
        """Active latents of raw activations x float[n, d_in]; k columns, or as many as the fullest row needs.

        Raises InputError for a shape other than [n, d_in] or a row that is not finite.
        """
        parts = [_entries(code) for code in self._codes(x)]
        if not parts:
            empty = torch.zeros(0, self.k or 1)
            return Sparse(empty, empty.long())
        counts, indices, values = (torch.cat(list(column)) for column in zip(*parts, strict=True))
        width = self.k if self.activation == "topk" and self.k is not None else max(1, int(counts.max()))
        return _padded(counts, indices, values, width)

    def _codes(self, x: Tensor) -> Iterator[Code]:
        """Codes of pieces of x that keep memory small. Errors as `encode`."""
        _check_rows(x, self.W_enc.shape[0])
        # Loading the compiled loops takes longer than coding a few rows, and they carry no gradient.
        followed = torch.is_grad_enabled() and x.requires_grad
        compiled = not followed and ("numba" in sys.modules or len(x) * self.m > 2**25)
        backend = make_backend("auto" if compiled else "torch")
        return (self._code(backend, part) for part in x.split(max(1, ENTRIES_AT_ONCE // self.m)) if len(part))

    def _code(self, backend: Backend, x: Tensor) -> Code:
        pre = self.pre_activations(x.float())
        if self.activation == "topk" and self.k is not None:
            return backend.top_of_rows(pre, self.k)
        return backend.between(pre, self.threshold)

    def dense(self, x: Tensor) -> Tensor:
        """Codes of x with all latents spelt out: float32[n, m]."""
        parts = [_spelt_out(code, self.m) for code in self._codes(x)]
        return torch.cat(parts) if parts else torch.zeros(0, self.m)

    def decode(self, code: Sparse | Tensor) -> Tensor:
        """Reconstruction float32[n, d_out] from a Sparse code or from dense codes float32[n, m]."""
        if isinstance(code, Tensor):
            return code @ self.W_dec + self.b_dec_out
        values, indices = code
        bag = torch.nn.functional.embedding_bag(indices, self.W_dec, per_sample_weights=values, mode="sum")
        return bag + self.b_dec_out

    def reconstruct(self, x: Tensor) -> Tensor:
        """decode(encode(x)), in pieces that keep memory small: float32[n, d_out] for x float[n, d_in]."""
        size = max(1, ENTRIES_AT_ONCE // self.m)
        _check_rows(x, self.W_enc.shape[0])
        return torch.cat([self.decode(self.encode(part)) for part in x.split(size)])


def save(dictionary: Dictionary, path: Path | str) -> None:
    """Write `path` (safetensors) and its neighbour with suffix .json, each complete or not at all."""
    path = Path(path)
    tensors = {name: getattr(dictionary, name).contiguous() for name in TENSORS}
    description = {
        **dictionary.info,
        "format": FORMAT,
        "architecture": dictionary.architecture,
        "activation": dictionary.activation,
        "k": dictionary.k,
        "d_in": dictionary.W_enc.shape[0],
        "d_out": dictionary.W_dec.shape[1],
        "m": dictionary.m,
        "normalisation": "folded",
    }
    text = json.dumps(description, indent=2, sort_keys=True) + "\n"
    write_atomically(path, lambda temporary: save_file(tensors, temporary))
    write_atomically(path.with_suffix(".json"), lambda temporary: temporary.write_text(text))


def load(path: Path | str) -> Dictionary:
    """The dictionary in `path` (safetensors, with its .json neighbour) or in the folder `path`.

    Raises InputError naming the file if one is missing, damaged, of another format or inconsistent.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "dictionary.safetensors"
    beside = path.with_suffix(".json")
    try:
        description = json.loads(beside.read_text())
    except FileNotFoundError:
        raise InputError(f"{beside}: missing; run the stage that fits the dictionary") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{beside}: cannot be read ({error}); delete it and fit the dictionary again") from None
    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename or path}: missing; run the stage that fits the dictionary") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it and fit the dictionary again") from None
    _check_description(description, tensors, path, beside)
    info = {key: value for key, value in description.items() if key not in DESCRIBED}
    fields: dict[str, Any] = {
        **tensors,
        **{key: description[key] for key in ("architecture", "activation", "k")},
    }
    try:
        return Dictionary(**fields, info=info)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call write(temporary neighbour), then rename it to `path`: a reader never sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


DESCRIBED = ("format", "architecture", "activation", "k", "d_in", "d_out", "m", "normalisation")


def _check_description(description: Any, tensors: dict[str, Tensor], path: Path, beside: Path) -> None:
    if not isinstance(description, dict):
        raise InputError(f"{beside}: holds no JSON object; fit the dictionary again")
    for key in DESCRIBED:
        if key not in description:
            raise InputError(f"{beside}: {key} is missing; fit the dictionary again")
    if description["format"] != FORMAT:
        raise InputError(f"{beside}: format is {description['format']!r}, this version reads {FORMAT}; fit it again")
    if description["normalisation"] != "folded":
        raise InputError(f"{beside}: normalisation is not folded; fold it into the weights or fit again")
    if sorted(tensors) != sorted(TENSORS):
        raise InputError(f"{path}: holds {sorted(tensors)}, needs {sorted(TENSORS)}; fit the dictionary again")
    shape = (description["d_in"], description["m"])
    if tuple(tensors["W_enc"].shape) != shape:
        found = tuple(tensors["W_enc"].shape)
        raise InputError(f"{path}: W_enc is {found} but {beside.name} says {shape}; the files are not one pair")


def _check(dictionary: Dictionary, name: str) -> None:
    if dictionary.W_enc.ndim != 2 or dictionary.W_dec.ndim != 2:
        raise InputError(f"{name}: W_enc and W_dec must be matrices; fit the dictionary again")
    (d_in, m), d_out = dictionary.W_enc.shape, dictionary.W_dec.shape[1]
    shapes = dict(zip(TENSORS, ((d_in, m), (m, d_out), (d_in,), (d_out,), (m,), (m,)), strict=True))
    for key, shape in shapes.items():
        tensor = getattr(dictionary, key)
        if tuple(tensor.shape) != shape:
            raise InputError(f"{name}: {key} has shape {tuple(tensor.shape)}, expected {shape}; fit it again")
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name}: {key} is not finite; fit the dictionary again with a lower lr")
    worst = float((dictionary.W_dec.norm(dim=1) - 1).abs().max())
    if worst > 1e-4:
        raise InputError(f"{name}: a row of W_dec is {worst:.2g} off unit norm; fold norms into W_enc before saving")
    if dictionary.activation not in ("topk", "jumprelu"):
        raise InputError(f"{name}: activation {dictionary.activation!r} is unknown; it is topk or jumprelu")
    if dictionary.activation == "topk" and not (isinstance(dictionary.k, int) and 0 < dictionary.k <= m):
        raise InputError(f"{name}: k is {dictionary.k}; it must be at least 1 and at most m = {m}")


def _check_rows(x: Tensor, d: int) -> None:
    if x.ndim != 2 or x.shape[1] != d:
        raise InputError(f"activations: shape {tuple(x.shape)}, the dictionary reads [n, {d}]; use its own hook point")
    if not torch.isfinite(x).all():
        row = int((~torch.isfinite(x)).any(1).nonzero()[0])
        raise InputError(f"activations: row {row} is NaN or infinite; drop it or capture the activations again")


def _entries(code: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(counts int64[n], indices int64, values) row by row, of either kind of code."""
    if isinstance(code, Compact):
        return code.starts.diff(), code.indices.long(), code.values
    mask = code.mask
    return mask.sum(1), mask.nonzero()[:, 1], code.values[mask]


def _spelt_out(code: Code, m: int) -> Tensor:
    if isinstance(code, Dense):
        return code.values
    counts, indices, values = _entries(code)
    rows = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return torch.zeros(len(counts), m).index_put_((rows, indices), values)


def _padded(counts: Tensor, indices: Tensor, values: Tensor, width: int) -> Sparse:
    if bool((counts == width).all()):
        return Sparse(values.view(-1, width), indices.view(-1, width))
    rows = torch.repeat_interleave(torch.arange(len(counts)), counts)
    columns = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
    out = Sparse(values.new_zeros(len(counts), width), indices.new_zeros(len(counts), width))
    out.values[rows, columns] = values
    out.indices[rows, columns] = indices
    return out
