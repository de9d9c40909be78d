"""Small GGUF files with weights of every type, as llama.cpp's converter lays them out."""

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from winnow.curate.byte_pairs import train_byte_pairs

TEXTS = ["def add(a, b):\n    return a + b\n", "x = [1, 2, 3]\nprint(x)\n", "größer = 'Äpfel 🍏 und Birnen'\n"] * 20
WIDTH, HEADS, KV_HEADS, HIDDEN, LAYERS, VOCABULARY = 256, 4, 2, 512, 2, 300
F32, F16, Q8_0, Q4_1, Q4_K, Q6_K = (GGMLQuantizationType[n] for n in ("F32", "F16", "Q8_0", "Q4_1", "Q4_K", "Q6_K"))
PLAIN = dict.fromkeys(
    ("token_embd", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"), F32
)
MIXED = PLAIN | {"attn_q": Q4_K, "attn_k": Q4_1, "attn_v": Q6_K, "attn_output": Q8_0, "ffn_gate": F16, "ffn_down": Q4_K}


def shapes():
    """Name of each weight in a file -> its shape [out, in]."""
    part = {"attn_q": (WIDTH, WIDTH), "attn_k": (KV_HEADS * WIDTH // HEADS, WIDTH), "attn_output": (WIDTH, WIDTH)}
    part |= {
        "attn_v": part["attn_k"],
        "ffn_gate": (HIDDEN, WIDTH),
        "ffn_up": (HIDDEN, WIDTH),
        "ffn_down": (WIDTH, HIDDEN),
    }
    part |= {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,)}
    found = {"token_embd.weight": (VOCABULARY, WIDTH), "output_norm.weight": (WIDTH,)}
    return found | {f"blk.{i}.{name}.weight": shape for i in range(LAYERS) for name, shape in part.items()}


def plain_weights(seed=0):
    """Name -> weight float32, none of which is near its start."""
    draw = np.random.default_rng(seed)
    scale = {1: lambda shape: 1 + 0.1 * draw.standard_normal(shape), 2: lambda shape: draw.standard_normal(shape) / 8}
    return {name: scale[len(shape)](shape).astype(np.float32) for name, shape in shapes().items()}


def k_blocks(kind, shape, draw):
    """Bytes uint8[out, bytes] of a weight of k-quants, drawn by chance with scales of a weight's size."""
    size, scales = {Q4_K: (144, {0: 0.0005, 2: 0.004}), Q6_K: (210, {208: 0.00003})}[kind]
    blocks = draw.integers(0, 256, (shape[0] * shape[1] // 256, size)).astype(np.uint8)
    for at, scale in scales.items():
        blocks[:, at : at + 2] = np.full((len(blocks), 1), scale, np.float16).view(np.uint8)
    return blocks.reshape(shape[0], -1)


def write_gguf(path, types=PLAIN, tokenizer=None, change=None, seed=0):
    """Write a model of random weights; returns its weights as the file has them, and its tokenizer.

    change: told of the writer before it writes, to add what should be refused.
    """
    tokenizer = tokenizer or train_byte_pairs(TEXTS, VOCABULARY)
    writer, draw = GGUFWriter(path, "llama"), np.random.default_rng(seed + 1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(5000.0)
    words = [tokenizer.id_to_token(token) for token in range(VOCABULARY)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([3] + [1] * (VOCABULARY - 1))
    writer.add_token_merges(merges_of(tokenizer))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(True)
    weights = plain_weights(seed)
    for name, weight in weights.items():
        kind = types.get(name.split(".")[-2], F32)
        if kind in (Q4_K, Q6_K):
            writer.add_tensor(name, k_blocks(kind, weight.shape, draw), raw_dtype=kind)
        else:
            writer.add_tensor(name, quantize(weight, kind), raw_dtype=kind)
    if change:
        change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights, tokenizer


def merges_of(tokenizer):
    """Pairs of a tokenizer's merges, each as a file has it."""
    import json

    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
