"""A routed layer beside both layers run on everything, and its blocks beside those of a Llama."""

import torch

from winnow.models.llama import Llama
from winnow.models.routed_transformer import RoutedFeedForward, RoutedTransformer


@torch.no_grad()
def test_each_token_takes_the_layer_its_score_says():
    torch.manual_seed(0)
    layer, x = RoutedFeedForward(8, 12, 3), torch.randn(3, 5, 8)
    score = x @ layer.score.weight[0] + layer.score.bias
    taken = layer.takes_big(x)
    assert torch.equal(taken, score > 0) and 0 < taken.sum() < 15
    expected = torch.where(taken[..., None], layer.big(x), layer.small(x))
    assert torch.allclose(layer(x), expected, atol=1e-6)


@torch.no_grad()
def test_where_all_take_the_large_layer_it_is_a_llama():
    torch.manual_seed(0)
    made, x = RoutedTransformer(11, width=16, layers=2, heads=2, big=20, small=4), torch.tensor([[1, 5, 3], [2, 2, 9]])
    plain = Llama(11, width=16, layers=2, heads=2, hidden=20)
    state = {n.replace(".mlp.big.", ".mlp."): t for n, t in made.state_dict().items() if ".small." not in n}
    plain.load_state_dict({n: t for n, t in state.items() if ".score." not in n})
    for block in made.blocks:
        block.mlp.score.weight.zero_()
        block.mlp.score.bias.fill_(1.0)
    assert torch.allclose(made(x), plain(x), atol=1e-6)
    assert made.blocks[1].mlp.small.up.weight.shape == (4, 16)


@torch.no_grad()
def test_a_score_of_nothing_takes_the_small_layer():
    layer = RoutedFeedForward(8, 12, 3)
    layer.score.weight.zero_()
    layer.score.bias.zero_()
    assert not layer.takes_big(torch.ones(2, 8)).any()


def test_unless_told_six_blocks_have_layers_of_256_and_16():
    made = RoutedTransformer(11)
    assert made.embedding.weight.shape == (11, 64) and len(made.blocks) == 6
    for block in made.blocks:
        assert block.attention.heads == block.attention.kv_heads == 4
        assert block.mlp.big.up.weight.shape == (256, 64) and block.mlp.small.up.weight.shape == (16, 64)
