"""Language models in GGUF files, as llama.cpp writes them: weights of few bits, sizes and vocabulary in one file.

The format and its quantised types are read by the library `gguf` of the llama.cpp project; what is computed with them
is `Llama`. Kinds of attention, of rotation and of vocabulary that this model does not have are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.models import build
from winnow.models.small_language_model import SmallLanguageModel
from winnow.models.vocabulary import Vocabulary, letters_of_bytes

if TYPE_CHECKING:
    from gguf import GGUFReader
    from tokenizers import Tokenizer

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Kinds of tokens in a file."""
ENDS = ("<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "</s>")
"""Control tokens that end a text beside the one that the file names, as llama.cpp has them."""
PARTS = {
    "attn_norm": "attention_norm",
    "attn_q": "attention.query",
    "attn_k": "attention.key",
    "attn_v": "attention.value",
    "attn_output": "attention.output",
    "ffn_norm": "mlp_norm",
    "ffn_gate": "mlp.gate",
    "ffn_up": "mlp.up",
    "ffn_down": "mlp.down",
}
WHOLE = {"token_embd.weight": "embedding.weight", "output_norm.weight": "norm.weight", "output.weight": "output.weight"}


def read_gguf(path: str | Path, name: str = "gguf") -> SmallLanguageModel:
    """The language model in a file, its weights float32; `context_length` is the one that the file tells.

    Raises InputError, naming the file, where it is absent, damaged, or of a kind that is not known here.
    """
    reader, path = _opened(path), Path(path)
    told = {key: field.contents() for key, field in reader.fields.items()}
    try:
        if told["general.architecture"] != "llama":
            raise InputError(f"a model of the architecture {told['general.architecture']!r}; llama is read here")
        net = build("llama", **_sizes(told, {tensor.name for tensor in reader.tensors}))
        net.load_state_dict(_weights(reader, told))
        return SmallLanguageModel(net, vocabulary_of(told), int(told["llama.context_length"]), name)
    except KeyError as error:
        raise InputError(f"{path}: says nothing of {error.args[0]}; take another file") from error
    except (InputError, NotImplementedError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:300]}; take another file") from error


def _opened(path: str | Path) -> GGUFReader:
    from gguf import GGUFReader

    try:
        return GGUFReader(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; correct the path") from error
    except (ValueError, IndexError, OSError, UnicodeDecodeError, OverflowError) as error:
        raise InputError(f"{path}: is damaged or no GGUF file ({str(error)[:100]}); fetch it again") from error


def _sizes(told: Mapping[str, Any], tensors: set[str]) -> dict[str, Any]:
    """Arguments of `Llama`."""
    own = {key.removeprefix("llama."): value for key, value in told.items() if key.startswith("llama.")}
    heads, width = own["attention.head_count"], own["embedding_length"]
    sizes = {"rope.dimension_count": width // heads, "attention.key_length": width // heads}
    for key, size in sizes.items():
        if own.get(key, size) != size:
            raise InputError(f"llama.{key} is {own[key]}; {size} is read here")
    if any(own.get(key) not in (None, "none", 0) for key in ("rope.scaling.type", "expert_count")):
        raise InputError("has scaled rotations or experts, which are not read here")
    return {
        "vocabulary": len(told["tokenizer.ggml.tokens"]),
        "width": width,
        "layers": own["block_count"],
        "heads": heads,
        "hidden": own["feed_forward_length"],
        "kv_heads": own.get("attention.head_count_kv", heads),
        "base": own.get("rope.freq_base", 10_000.0),
        "epsilon": own["attention.layer_norm_rms_epsilon"],
        "tied": "output.weight" not in tensors,
    }


def _weights(reader: GGUFReader, told: Mapping[str, Any]) -> dict[str, Tensor]:
    """Our name of each weight -> the weight."""
    heads = {"attn_q": told["llama.attention.head_count"]}
    heads["attn_k"] = told.get("llama.attention.head_count_kv", heads["attn_q"])
    weights = {}
    for tensor in reader.tensors:
        words = tensor.name.split(".")
        if tensor.name in WHOLE:
            own, part = WHOLE[tensor.name], ""
        elif len(words) == 4 and words[0] == "blk" and words[2] in PARTS and words[3] == "weight":
            part = words[2]
            own = f"blocks.{words[1]}.{PARTS[part]}.weight"
        else:
            raise InputError(f"has the weight {tensor.name}, which llama has not")
        weights[own] = _dense(tensor, heads.get(part, 0))
    return weights


def _dense(tensor: Any, heads: int) -> Tensor:
    """A weight float32[out, in]; that of queries or keys, of so many heads, for pairs (i, i + d / 2).

    Files have the pairs (2i, 2i + 1) of the paper side by side.
    """
    from gguf.quants import dequantize

    weight = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
    if heads:
        weight = weight.reshape(heads, -1, 2, weight.shape[-1]).swapaxes(1, 2).reshape(weight.shape)
    return torch.from_numpy(np.ascontiguousarray(weight).copy())


def vocabulary_of(told: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary that a file's metadata tell; InputError for another than one of byte pairs."""
    kind, splits = told["tokenizer.ggml.model"], told.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or splits not in ("default", "gpt-2", "smollm"):
        raise InputError(f"has a vocabulary of the kind {kind!r}, split as {splits!r}; gpt2 with smollm is read here")
    words, kinds = told["tokenizer.ggml.tokens"], told["tokenizer.ggml.token_type"]
    letters = letters_of_bytes()

    def piece(word: str, kind: int) -> bytes:
        if kind != NORMAL:
            return word.encode() if kind == USER_DEFINED else b""
        return bytes(letters[letter] for letter in word)

    pieces = [piece(word, kind) for word, kind in zip(words, kinds, strict=True)]
    ends = [told["tokenizer.ggml.eos_token_id"]]
    steering = {word: token for token, (word, kind) in enumerate(zip(words, kinds, strict=True)) if kind == CONTROL}
    ends += [steering[word] for word in ENDS if word in steering and steering[word] not in ends]
    tokenizer = _tokenizer(words, kinds, told["tokenizer.ggml.merges"], splits)
    return Vocabulary(tokenizer, pieces, told.get("tokenizer.ggml.bos_token_id", ends[0]), ends)


def _tokenizer(words: Sequence[str], kinds: Sequence[int], merges: Sequence[str], splits: str) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    pairs = [(first, second) for first, _, second in (merge.partition(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE({word: token for token, word in enumerate(words)}, pairs))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = [pre_tokenizers.Digits(individual_digits=True)] if splits == "smollm" else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    added = {kind: [AddedToken(w, normalized=False) for w, k in zip(words, kinds, strict=True) if k == kind]
             for kind in (CONTROL, USER_DEFINED)}  # fmt: skip
    tokenizer.add_special_tokens(added[CONTROL])
    tokenizer.add_tokens(added[USER_DEFINED])
    return tokenizer
