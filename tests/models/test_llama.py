"""The decoder beside that of the library transformers, and reading in pieces beside reading at once."""

import pytest
import torch

from winnow.models.llama import Llama
from winnow.models.transformer import Transformer


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


@torch.no_grad()
@pytest.mark.parametrize("width", [16, 32])
def test_with_a_head_of_keys_for_each_of_queries_it_is_the_transformer(width):
    net, plain = loud(width=width, kv_heads=0, hidden=0), Transformer(300, width, 2, 4)
    plain.load_state_dict(net.state_dict())
    x = tokens(3, 20)
    assert torch.allclose(net(x), plain(x), atol=1e-5 * plain(x).abs().max().item(), rtol=0)


@torch.no_grad()
def test_a_group_of_queries_shares_its_keys_and_values():
    net, plain = loud(), loud(kv_heads=4)
    state = net.state_dict()
    for name in state:
        if name.endswith(("key.weight", "value.weight")):
            state[name] = state[name].unflatten(0, (2, 8)).repeat_interleave(2, 0).flatten(0, 1)
    plain.load_state_dict(state)
    x = tokens(2, 9)
    assert torch.allclose(net(x), plain(x), atol=1e-5 * plain(x).abs().max().item(), rtol=0)


@torch.no_grad()
def test_blocks_without_attention_or_feed_forward_are_left_out_and_read_in_pieces():
    net, x = loud(layers=3, attention=[0, 2], mlp=[1]), tokens(2, 7)
    assert [block.attention is None for block in net.blocks] == [False, True, False]
    assert [block.mlp is None for block in net.blocks] == [True, False, True]
    for block in net.blocks:  # a norm of nothing would be a weight that no file of such a model has
        assert (block.attention_norm is None, block.mlp_norm is None) == (block.attention is None, block.mlp is None)
    first, cache = net.read(x[:, :4])
    assert [part.shape for part in (cache.keys[1], cache.values[1])] == [(2, 0), (2, 0)]
    second, cache = net.read(x[:, 4:], cache.select(torch.tensor([1, 0])).select(torch.tensor([1, 0])))
    assert torch.allclose(torch.cat([first, second], 1), net.read(x)[0], atol=1e-5)
    assert cache.lengths.tolist() == [7, 7]
    only = net.blocks[1]
    stream = torch.randn(1, 2, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(only(stream, None, None, None)[0], stream + only.mlp(only.mlp_norm(stream)))


@torch.no_grad()
def test_a_base_of_positions_and_an_output_layer_of_its_own():
    x = tokens(2, 9)
    plain = loud()
    other = loud(base=500.0)
    assert not torch.allclose(plain(x), other(x)) and torch.equal(plain(x)[:, 0], other(x)[:, 0])
    untied = loud(tied=False)
    state = plain.state_dict() | {"output.weight": 2 * plain.embedding.weight}
    untied.load_state_dict(state)
    assert torch.allclose(untied(x), 2 * plain(x), atol=1e-5)


def test_unless_told_it_has_two_blocks_of_four_heads_on_a_width_of_64():
    net = Llama(50)
    assert net.embedding.weight.shape == (50, 64) and len(net.blocks) == 2 and net.output is None
    assert net.base == 10_000 and net.norm.eps == net.blocks[0].mlp_norm.eps == 1e-6
    block = net.blocks[0]
    assert block.attention.heads == 4 and block.attention.key.weight.shape == (64, 64)
    assert block.mlp.up.weight.shape == (176, 64)


@torch.no_grad()
def test_a_cache_tells_its_bytes_and_the_tokens_of_each_row():
    net, x = loud(), tokens(3, 5)
    _, cache = net.read(x, blank=torch.tensor([2, 0, 4]))
    # Keys and values of two blocks, three rows, two heads of eight numbers, five places, of four bytes each.
    assert cache.bytes() == 2 * 2 * 3 * 2 * 8 * 5 * 4
    assert cache.lengths.tolist() == [3, 5, 1] and cache.select(torch.tensor([2, 2])).lengths.tolist() == [1, 1]
    hidden, _ = net.read(x, blank=torch.tensor([5, 4, 0]))
    assert torch.isfinite(hidden).all()  # of rows that are all filled up, too
