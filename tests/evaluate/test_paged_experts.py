"""Experts in a file beside the same model in memory, and faults beside the simulation of what it asks."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from winnow.compress.paging import lfd, simulate
from winnow.evaluate.paged_experts import (
    POLICIES,
    ExpertFile,
    PagedExperts,
    cached,
    paged,
    read_on,
    with_few_in_memory,
)
from winnow.models import build
from winnow.models.experts import MoEX, with_feed_forward
from winnow.train.byte_language import next_losses
from winnow.train.moe_x import expert_trace


def model_of(router):
    model = build("transformer", vocabulary=11, width=16, layers=2, heads=2, seed=1).eval()
    torch.manual_seed(0)
    with_feed_forward(model, [MoEX(16, 12, experts=4, k=2, router=router) for _ in range(2)])
    with torch.no_grad():
        for block in model.blocks:
            for parameter in block.mlp.parameters():
                parameter.mul_(20)
    return model


@pytest.fixture(params=["sparsity", "learned"])
def model(request):
    return model_of(request.param)


@pytest.fixture
def path(model, tmp_path):
    save_file({f"arm/{n}": t.contiguous() for n, t in model.state_dict().items()}, tmp_path / "models.safetensors")
    return tmp_path / "models.safetensors"


X = torch.randint(0, 11, (8, 12), generator=torch.Generator().manual_seed(0))


def test_one_expert_is_read_and_its_bytes_are_counted(model, path):
    file = ExpertFile(path, "arm/")
    found = file.load((1, 3))
    layer = model.blocks[1].mlp
    assert torch.equal(found.encoder, layer.encoder[3]) and torch.equal(found.decoder, layer.decoder[3])
    assert torch.equal(found.bias, layer.bias[3]) and file.read == 4 * (2 * 16 * 12 + 12)


@torch.no_grad()
def test_a_layer_whose_experts_are_fetched_is_the_layer(model):
    layer, asked = model.blocks[0].mlp, []

    def fetch(key):
        asked.append(key)
        return tuple(getattr(layer, part)[key[1]] for part in ("encoder", "bias", "decoder"))

    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(PagedExperts(layer, 7, fetch)(x), layer(x), atol=1e-5)
    assert [key[1] for key in asked] == layer.routed(x.flatten(0, 1))[1].flatten().tolist()
    assert {key[0] for key in asked} == {7}


def test_a_model_read_token_by_token_loses_what_it_loses_at_once(model, path):
    asked = []
    file = ExpertFile(path, "arm/")
    reading = paged(model, lambda key: asked.append(key) or file.load(key))
    with torch.no_grad():
        assert read_on(reading, X) == pytest.approx(float(next_losses(model, X).mean()), rel=1e-5)
    # Tokens ask one after another, each layer after layer.
    expected = expert_trace(model, X[:, :-1]).view(-1, 2, 2).tolist()
    assert [[4 * asked[i][0] + asked[i][1], 4 * asked[i + 1][0] + asked[i + 1][1]] for i in range(0, 8, 2)] == [
        pair for token in expected[:2] for pair in token
    ]


def test_few_in_memory_change_time_and_bytes_alone(model, path):
    ticks = itertools.count()
    rows, seconds = with_few_in_memory(model, path, "arm/", X, 3, 0, lambda: float(next(ticks)))
    found = {variant: values for _, variant, values in rows}
    assert list(found) == ["in_memory", *POLICIES] == [variant for _, variant, _ in seconds]
    assert all(values == {"seconds": 1.0} for _, _, values in seconds)
    assert len({round(values["cross_entropy"], 6) for values in found.values()}) == 1
    each = 4 * (2 * 16 * 12 + 12)
    assert all(values["bytes_read"] == each * values["faults"] for values in found.values())
    trace = expert_trace(model, X[4:, :-1]).numpy()
    assert found["lru"]["faults"] == simulate(trace, None, 3, "lru").faults
    assert all(found[policy]["faults"] >= lfd(trace, 3)[0] for policy in POLICIES)
    assert found["in_memory"]["faults"] == 0 and not np.isnan(found["lru"]["cross_entropy"])


def test_traces_are_cached_together_and_by_layer():
    trace = np.random.default_rng(0).integers(0, 8, 300)
    params = SimpleNamespace(cached=4, experts=4, seed=0)
    found = {variant: values for _, variant, values in cached({"arm": trace}, params)}
    assert found["lru-arm"]["faults"] == simulate(trace[150:], None, 4, "lru").faults
    layers = [trace[trace // 4 == layer] for layer in (0, 1)]
    own = [simulate(part[len(part) // 2 :], None, 2, "lru").faults for part in layers]
    best = [lfd(part[len(part) // 2 :], 2)[0] for part in layers]
    assert found["lru-arm-by-layer"]["faults"] == sum(own)
    assert found["lru-arm-by-layer"]["faults_over_optimum"] == sum(own) / sum(best)
    assert found["lfd-arm-by-layer"]["gap_closed"] == 1 and found["lru-arm-by-layer"]["gap_closed"] == 0
