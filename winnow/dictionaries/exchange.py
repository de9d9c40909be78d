"""Dictionaries of SAELens and of dictionary_learning, read into ours and written from ours.

SAELens (J. Bloom, C. Tigges, A. Duong, D. Chanin, 2024): a folder with cfg.json and sae_weights.safetensors, of
autoencoders and transcoders; files from before its version 6 name their settings otherwise.
dictionary_learning (S. Marks, A. Karvonen, A. Mueller, 2024): a folder with config.json and ae.pt, which is read as
tensors alone: a file that would have to be unpickled is refused. Norms of decoder rows are folded into the encoder, a
gate into a threshold, so that all of them become one of two activations: the k largest, or those above a threshold.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary, write_atomically
from winnow.errors import InputError

Weights = dict[str, Tensor]
NOT_NORMALISED = (None, False, "none")
OURS = {"standard": "relu_l1", "topk": "topk", "jumprelu": "jumprelu", "gated": "gated"}
TRANSCODERS = {"transcoder": "relu_l1", "jumprelu_transcoder": "jumprelu"}
CLASSES = {
    "AutoEncoder": "relu_l1",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk",
    "JumpReluAutoEncoder": "jumprelu",
    "GatedAutoEncoder": "gated",
}


def from_saelens(folder: Path | str) -> Dictionary:
    """What SAELens saved in a folder: standard, topk, jumprelu (which batchtopk is saved as), gated, or a transcoder.

    Raises InputError for files that are missing or damaged, another architecture, and what no dictionary of ours
    computes: activations that are normalised at run time, topk that ranks by more than the activation itself, other
    activation functions than relu and topk, and codes that are scaled once more after fine-tuning.
    """
    folder = Path(folder)
    config, weights = _json(folder / "cfg.json"), _tensors(folder / "sae_weights.safetensors")
    place = folder / "cfg.json"
    kind, k = _kind(place, config)
    known = OURS | TRANSCODERS
    if kind not in known:
        raise InputError(f"{place}: architecture {kind!r} is none of {', '.join(known)}; convert one of these")
    if config.get("normalize_activations") not in NOT_NORMALISED:
        found = config["normalize_activations"]
        raise InputError(f"{place}: normalize_activations is {found!r}; fold it into the weights in SAELens first")
    if config.get("reshape_activations") not in NOT_NORMALISED:
        raise InputError(f"{place}: reshape_activations is {config['reshape_activations']!r}; only none is read")
    if config.get("finetuning_scaling_factor"):
        raise InputError(f"{place}: finetuning_scaling_factor is set; multiply W_dec by it in SAELens first")
    names = ("W_enc", "W_dec", "b_dec", *{"gated": ("b_gate", "r_mag", "b_mag")}.get(kind, ("b_enc",)))
    threshold = ("threshold",) if known[kind] == "jumprelu" else ()
    _need(folder / "sae_weights.safetensors", weights, (*names, *threshold))
    taken = kind in OURS and config.get("apply_b_dec_to_input", True)
    inner = weights["b_dec"] if taken else weights["W_enc"].new_zeros(len(weights["W_enc"]))
    if kind == "gated":
        weights |= _ungated(weights["W_enc"], weights["r_mag"], weights["b_gate"], weights["b_mag"])
    by_norm = bool(config.get("rescale_acts_by_decoder_norm", False))
    named = config | (config.get("metadata") or {})
    found = _folded(
        place, known[kind], weights, inner, k=k, by_norm=by_norm, hook=named.get("hook_name", named.get("hook_point"))
    )
    if named.get("hook_name_out"):
        found.info["hook_out"] = named["hook_name_out"]
    return found


def _kind(place: Path, config: dict[str, Any]) -> tuple[str, Any]:
    """Architecture and k of what cfg.json describes.

    Before version 6, topk was the activation function of a standard autoencoder, and some files name no architecture.
    """
    kind, k = config.get("architecture", "standard"), config.get("k")
    function = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if function == "topk" and kind in ("standard", "topk"):
        return "topk", (config.get("activation_fn_kwargs") or {}).get("k", k)
    if function != "relu":
        raise InputError(f"{place}: activation_fn is {function!r}; only relu and topk are read")
    return kind, k


def to_saelens(dictionary: Dictionary, folder: Path | str) -> None:
    """Write a dictionary as SAELens reads it: an autoencoder as topk or jumprelu, a transcoder as jumprelu_transcoder.

    Raises InputError for topk between activations of different width, of which it has no class.
    """
    (d_in, _), d_out = dictionary.W_enc.shape, dictionary.W_dec.shape[1]
    hooks = {"hook_name": dictionary.info.get("hook"), "hook_name_out": dictionary.info.get("hook_out")}
    transcodes = d_in != d_out or (dictionary.activation == "jumprelu" and hooks["hook_name_out"] is not None)
    if transcodes and dictionary.activation == "topk":
        raise InputError(f"dictionary: maps {d_in} to {d_out} dimensions by topk, of which SAELens has no class")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights, shared = _one_bias(dictionary, shareable=not transcodes)
    config: dict[str, Any] = {
        "architecture": "jumprelu_transcoder" if transcodes else dictionary.activation,
        "d_in": d_in,
        "d_sae": dictionary.m,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": shared,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {name: hook for name, hook in hooks.items() if hook or name == "hook_name"},
    }
    if transcodes:
        config["d_out"] = d_out
    if dictionary.activation == "topk":
        config |= {"k": dictionary.k, "rescale_acts_by_decoder_norm": False}
    else:
        weights["threshold"] = dictionary.threshold
    stored = {name: tensor.contiguous().clone() for name, tensor in weights.items()}
    write_atomically(folder / "sae_weights.safetensors", lambda path: save_file(stored, path))
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    write_atomically(folder / "cfg.json", lambda path: path.write_text(text))


def from_dictionary_learning(folder: Path | str) -> Dictionary:
    """The autoencoder of dictionary_learning in a folder, one of CLASSES.

    BatchTopKSAE is read with the threshold that its own encode goes by. Raises InputError as `from_saelens`, and for an
    ae.pt that holds more than tensors.
    """
    folder = Path(folder)
    config = _json(folder / "config.json").get("trainer", {})
    kind, place = config.get("dict_class"), folder / "ae.pt"
    if kind not in CLASSES:
        raise InputError(
            f"{folder / 'config.json'}: dict_class {kind!r} is none of {', '.join(CLASSES)}; convert these"
        )
    found = _pt(place)
    if kind == "JumpReluAutoEncoder":
        _need(place, found, ("W_enc", "W_dec", "b_enc", "b_dec", "threshold"))
        inner = torch.zeros_like(found["b_dec"])  # its b_dec is added to what comes out alone
        return _folded(place, "jumprelu", found, inner, k=None, by_norm=False, hook=config.get("submodule_name"))
    bias = {"AutoEncoder": "bias", "GatedAutoEncoder": "decoder_bias"}.get(kind, "b_dec")
    extra = {
        "AutoEncoderTopK": ("encoder.bias", "k"),
        "BatchTopKSAE": ("encoder.bias", "threshold"),
        "GatedAutoEncoder": ("r_mag", "gate_bias", "mag_bias"),
    }
    _need(place, found, ("encoder.weight", "decoder.weight", bias, *extra.get(kind, ("encoder.bias",))))
    weights = {"W_enc": found["encoder.weight"].T, "W_dec": found["decoder.weight"].T, "b_dec": found[bias]}
    if kind == "GatedAutoEncoder":
        weights |= _ungated(weights["W_enc"], found["r_mag"], found["gate_bias"], found["mag_bias"])
    else:
        weights["b_enc"] = found["encoder.bias"]
    if kind == "BatchTopKSAE":
        weights["threshold"] = found["threshold"].expand(len(weights["b_enc"]))
    k = int(found["k"]) if kind == "AutoEncoderTopK" else None
    hook = config.get("submodule_name")
    return _folded(place, CLASSES[kind], weights, weights["b_dec"], k=k, by_norm=False, hook=hook)


def to_dictionary_learning(dictionary: Dictionary, folder: Path | str) -> None:
    """Write an autoencoder as dictionary_learning reads it: AutoEncoderTopK or JumpReluAutoEncoder.

    Raises InputError for a dictionary between activations of different width, and for topk whose inner and outer bias
    differ, which that class cannot say.
    """
    _square(dictionary)
    weights, shared = _one_bias(dictionary)
    if dictionary.activation == "topk":
        if not shared:
            raise InputError("dictionary: its biases of input and output differ; dictionary_learning's topk has one")
        kind = "AutoEncoderTopK"
        state = {
            "b_dec": weights["b_dec"],
            "encoder.weight": weights["W_enc"].T,
            "encoder.bias": weights["b_enc"],
            "decoder.weight": weights["W_dec"].T,
            "k": torch.tensor(dictionary.k),
            "threshold": torch.tensor(-1.0),
        }
    else:
        kind = "JumpReluAutoEncoder"
        b_enc = dictionary.b_enc - dictionary.b_dec_in @ dictionary.W_enc
        state = {**weights, "b_enc": b_enc, "b_dec": dictionary.b_dec_out, "threshold": dictionary.threshold}
    trainer = {
        "dict_class": kind,
        "activation_dim": dictionary.W_enc.shape[0],
        "dict_size": dictionary.m,
        "k": dictionary.k,
        "submodule_name": dictionary.info.get("hook"),
    }
    stored = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "ae.pt", lambda path: torch.save(stored, path))
    text = json.dumps({"trainer": trainer}, indent=2, sort_keys=True) + "\n"
    write_atomically(folder / "config.json", lambda path: path.write_text(text))


def _one_bias(dictionary: Dictionary, shareable: bool = True) -> tuple[Weights, bool]:
    """W_enc, b_enc, W_dec, b_dec, and whether b_dec is taken off what goes in; else b_dec_in is folded into b_enc."""
    shared = shareable and torch.equal(dictionary.b_dec_in, dictionary.b_dec_out)
    b_enc = dictionary.b_enc if shared else dictionary.b_enc - dictionary.b_dec_in @ dictionary.W_enc
    weights = {"W_enc": dictionary.W_enc, "b_enc": b_enc, "W_dec": dictionary.W_dec, "b_dec": dictionary.b_dec_out}
    return weights, shared


def _ungated(encoder: Tensor, r_mag: Tensor, gate: Tensor, magnitude: Tensor) -> Weights:
    """A gated encoder as one with a threshold (S. Rajamanoharan et al., 2024, section 3).

    The gate x W + b_gate > 0 says of the magnitude x W exp(r) + b_mag that it is above b_mag - exp(r) b_gate.
    """
    scale = r_mag.exp()
    return {"W_enc": encoder * scale, "b_enc": magnitude, "threshold": magnitude - scale * gate}


def _folded(
    place: Path, architecture: str, weights: Weights, inner: Tensor, *, k: Any, by_norm: bool, hook: Any
) -> Dictionary:
    """A dictionary of the weights with decoder rows of unit norm; a row of zeros stays silent."""
    shape = (len(weights["W_dec"]), *weights["b_dec"].shape)
    if weights["W_enc"].shape != (len(inner), shape[0]) or weights["W_dec"].shape != shape:
        shapes = f"{tuple(weights['W_enc'].shape)} and {tuple(weights['W_dec'].shape)}"
        raise InputError(f"{place}: W_enc and W_dec are {shapes}, no pair of one dictionary; correct the files")
    single = {name: tensor.float() for name, tensor in weights.items()}
    norm = single["W_dec"].norm(dim=1)
    silent = norm == 0
    if architecture == "topk" and not by_norm and float((norm - 1).abs().max()) > 1e-4:
        raise InputError(f"{place}: topk over decoder rows that are not of unit norm; fold the norms in its own tool")
    unit = torch.where(silent[:, None], torch.eye(1, single["W_dec"].shape[1]), single["W_dec"] / norm[:, None])
    threshold = (single["threshold"].clamp(min=0) * norm) if "threshold" in single else torch.zeros_like(norm)
    return Dictionary(
        W_enc=(single["W_enc"] * norm).contiguous(),
        b_enc=single["b_enc"] * norm,
        W_dec=unit.contiguous(),
        b_dec_in=inner.float().clone(),
        b_dec_out=single["b_dec"].clone(),
        threshold=threshold,
        architecture=architecture,
        activation="topk" if architecture == "topk" else "jumprelu",
        k=int(k) if architecture == "topk" and k is not None else None,
        info={"hook": hook},
    )


def _square(dictionary: Dictionary) -> None:
    (d_in, _), d_out = dictionary.W_enc.shape, dictionary.W_dec.shape[1]
    if d_in != d_out:
        raise InputError(f"dictionary: maps {d_in} to {d_out} dimensions; these formats hold autoencoders")


def _need(place: Path, found: Weights, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in found:
            raise InputError(f"{place}: has no {name}; it has {', '.join(sorted(found))}")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); save the autoencoder again") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds no JSON object; save the autoencoder again")
    return found


def _tensors(path: Path) -> Weights:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); save the autoencoder again") from None


def _pt(path: Path) -> Weights:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(f"{path}: holds more than tensors and is not unpickled; save its state_dict alone") from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({str(error).partition(chr(10))[0]}); save it again") from None
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise InputError(f"{path}: holds no state_dict; save its state_dict alone")
    return found
