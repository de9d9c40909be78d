"""Experts that are a dense layer and little noise, and a trace beside the router of each layer."""

import pytest
import torch
from torch import nn

from winnow.errors import InputError
from winnow.models import build
from winnow.models.experts import Dense, MoEX, with_feed_forward
from winnow.train.moe_x import expert_trace, upcycled

WIDTH = 6


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_upcycled_experts_are_the_dense_layer_with_little_noise():
    torch.manual_seed(0)
    dense, x = Dense(WIDTH, 64, "relu"), normal(9, WIDTH, seed=2)
    nn.init.normal_(dense.encoder.bias)  # as training leaves it
    same = upcycled(dense, 4, 2, "sparsity", 0.0, torch.Generator().manual_seed(0))
    assert torch.allclose(same(x), dense(x), atol=1e-6) and same.activation == "relu" and same.k == 2
    noisy = upcycled(dense, 4, 2, "sparsity", 0.01, torch.Generator().manual_seed(0))
    assert 0 < (noisy(x) - dense(x)).abs().max() < 0.1
    apart = noisy.encoder - dense.encoder.weight.T
    assert apart.std().item() == pytest.approx(0.01 * dense.encoder.weight.std().item(), rel=0.1)
    assert torch.all(noisy.bias != dense.encoder.bias) and torch.all(noisy.decoder != dense.decoder.weight.T)
    assert torch.allclose(dense(x), dense.decoder(torch.relu(dense.encoder(x)))) and torch.all(dense.hidden(x) >= 0)
    assert upcycled(Dense(WIDTH, 8), 2, 1, "learned", 0.0, torch.Generator()).router is not None


def test_noise_is_a_share_of_the_deviation_of_what_is_there_and_none_for_a_number_alone():
    torch.manual_seed(0)
    dense = Dense(1, 2, "relu")
    made = upcycled(dense, 3000, 1, "sparsity", 0.5, torch.Generator().manual_seed(0))
    (a, b) = dense.encoder.weight.flatten().tolist()
    apart = made.encoder.detach() - dense.encoder.weight.detach().T
    assert apart.std().item() == pytest.approx(0.5 * abs(a - b) / 2, rel=0.05)  # two numbers deviate by half their gap
    single = Dense(WIDTH, 1, "relu")
    made = upcycled(single, 2, 1, "sparsity", 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(made.bias[0], single.encoder.bias) and made.encoder.isfinite().all()


def test_a_trace_tells_who_is_asked_token_by_token():
    model = build("transformer", vocabulary=11, width=8, layers=2, heads=2, seed=1).eval()
    torch.manual_seed(0)
    layers = [MoEX(8, 4, experts=3, k=2) for _ in range(2)]
    assert with_feed_forward(model, layers) is model and model.blocks[1].mlp is layers[1]
    x = torch.tensor([[1, 4, 2], [0, 10, 3]])
    trace = expert_trace(model, x).view(6, 4)
    seen = model.embedding(x)
    seen = seen + model.blocks[0].attention(model.blocks[0].attention_norm(seen))
    _, first = layers[0].routed(model.blocks[0].mlp_norm(seen).flatten(0, 1))
    assert torch.equal(trace[:, :2], first)
    assert torch.all((trace[:, 2:] >= 3) & (trace[:, 2:] < 6))
    assert not any(block.mlp._forward_hooks for block in model.blocks)
    with pytest.raises(InputError, match="the model has no experts"):
        expert_trace(build("transformer", vocabulary=11, width=8, heads=2), x)
