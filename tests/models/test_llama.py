"""The decoder beside that of the library transformers, and reading in pieces beside reading at once."""

import pytest
import torch

from winnow.models.llama import Llama


def tokens(n, t, vocabulary=300, seed=0):
    return torch.randint(0, vocabulary, (n, t), generator=torch.Generator().manual_seed(seed))


def loud(**changes):
    """A model whose weights are far from their start, where attention is nearly uniform."""
    torch.manual_seed(1)
    net = Llama(**{"vocabulary": 300, "width": 32, "layers": 2, "heads": 4, "kv_heads": 2} | changes).eval()
    for parameter in net.parameters():
        parameter.data.mul_(1.5)
    return net


def test_it_computes_what_transformers_library_computes():
    library = pytest.importorskip("transformers")
    config = library.LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=88, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=10_000.0, tie_word_embeddings=True,
    )  # fmt: skip
    peer = library.LlamaForCausalLM(config).eval()
    ours = Llama(300, 32, 2, 4, kv_heads=2)
    names = {
        "embedding.weight": "model.embed_tokens.weight",
        "norm.weight": "model.norm.weight",
    }
    parts = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm", "output": "o_proj"}
    parts |= {part: f"{part[0]}_proj" for part in ("query", "key", "value")}
    state = {}
    for name in ours.state_dict():
        words = name.split(".")
        if words[0] == "blocks":
            inner = [parts.get(word, {"attention": "self_attn"}.get(word, word)) for word in words[2:]]
            inner = [f"{word}_proj" if words[2] == "mlp" and word in ("gate", "up", "down") else word for word in inner]
            names[name] = ".".join(["model.layers", words[1], *inner])
        state[name] = peer.state_dict()[names[name]]
    ours.load_state_dict(state)
    x = tokens(2, 20)
    with torch.no_grad():
        assert torch.allclose(ours(x), peer(x).logits, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("pieces", [[9], [1] * 9, [4, 5], [3, 1, 2, 3]])
def test_reading_in_pieces_is_reading_at_once(pieces):
    net, x, cache, found = loud(), tokens(3, 9), None, []
    for piece in x.split(pieces, dim=1):
        hidden, cache = net.read(piece, cache)
        found.append(net.logits(hidden))
    whole = net(x)
    assert torch.allclose(torch.cat(found, 1), whole, atol=1e-5 * whole.abs().max().item(), rtol=0)
    assert cache.keys[0].shape == (3, 2, 9, 8) and len(cache.keys) == len(cache.values) == 2


@torch.no_grad()
def test_what_fills_a_row_up_is_not_seen():
    net, x = loud(), tokens(2, 9)
    blank = torch.tensor([3, 0])
    hidden, _ = net.read(x, blank=blank)
    alone, _ = net.read(x[:1, 3:])
    assert torch.allclose(hidden[:1, 3:], alone, atol=1e-5)
    other = x.clone()
    other[0, :3] += 1
    assert torch.equal(net.read(other % 300, blank=blank)[0][0, 3:], hidden[0, 3:])


@pytest.mark.parametrize("changes", [{"width": 20, "heads": 4}, {"heads": 4, "kv_heads": 3}])
def test_sizes_that_do_not_fit_are_refused(changes):
    with pytest.raises(ValueError, match="do not go into one another"):
        Llama(**{"vocabulary": 30, "width": 32} | changes)
