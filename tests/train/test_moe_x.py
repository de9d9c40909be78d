"""Up-cycling keeps what the dense model computes; traces are what paging reads; training sees balanced loads."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from winnow.errors import InputError
from winnow.models import build
from winnow.randomness import torch_generator
from winnow.train.adamw import fit_adamw
from winnow.train.moe_x import (
    BALANCE,
    BalancedTexts,
    expert_trace,
    mixture_inputs,
    scores_and_activity,
    upcycle,
    upcycle_model,
)
from winnow.workloads.traces import trace_table

SIZE = {"vocabulary": 20, "width": 8, "layers": 2, "heads": 2, "hidden": 6}


def model(seed=0, **changes):
    net = build("moe_transformer", seed=seed, **SIZE, **{"experts": 4, "k": 2, **changes})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(8)
    return net.eval()


def dense(**changes):
    return model(seed=5, experts=1, k=1, **changes)


X = torch.randint(0, 20, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("router", ["sparsity", "topk"])
def test_without_noise_an_upcycled_model_computes_what_the_dense_one_does(router):
    source, target = dense(), model(router=router)
    assert (source(X) - target(X)).abs().max() > 0.1
    kept = {name: value.clone() for name, value in target.state_dict().items() if "learned" in name}
    upcycle_model(source, target, torch_generator(0, "noise"), noise=0)
    torch.testing.assert_close(target(X), source(X), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(target.state_dict()[name], value) for name, value in kept.items())


def test_noise_has_the_deviation_that_is_asked_for_and_differs_between_experts():
    source, target = dense().mixtures()[0], model().mixtures()[0]
    upcycle(source, target, torch_generator(0, "noise"), noise=0.5)
    for name in ("encoder", "bias", "decoder"):
        moved = getattr(target, name).detach() - getattr(source, name).detach()
        assert float(moved.std()) == pytest.approx(0.5, rel=0.35)
        assert not torch.equal(moved[0], moved[1])
    upcycle(source, target, torch_generator(0, "noise"))
    assert float((target.encoder - source.encoder).detach().std()) == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize(
    ("source", "noise", "message"),
    [
        ({"experts": 2, "k": 1}, 0.1, "give one expert of their shape"),
        ({"experts": 1, "k": 1, "hidden": 5}, 0.1, "give one expert of their shape"),
        ({"experts": 1, "k": 1}, -0.1, "noise is -0.1"),
    ],
)
def test_layers_that_do_not_fit_are_refused(source, noise, message):
    given = build("moe_transformer", **{**SIZE, **source}).mixtures()[0]
    with pytest.raises(ValueError, match=message):
        upcycle(given, model().mixtures()[0], torch_generator(0, "noise"), noise)


@torch.no_grad()
def test_a_trace_names_the_experts_of_each_token_in_the_order_of_the_text():
    net = model()
    seen = []
    handle = net.blocks[1].mlp.register_forward_pre_hook(lambda module, given: seen.append(given[0].flatten(0, 1)))
    net(X)
    handle.remove()
    assert torch.equal(mixture_inputs(net, X, 1), seen[0])
    trace = expert_trace(net, X)
    assert list(trace) == ["layer0", "layer1"]
    _, gates = net.mixtures()[1].as_wide_mlp(seen[0])
    for row, pair in zip(gates, trace["layer1"].reshape(-1, 2), strict=True):
        assert set(pair) == set(row.nonzero().flatten().tolist())
        assert row[pair[0]] >= row[pair[1]]
    table = trace_table(trace)
    assert table.schema.names == ["trace", "t", "key"] and table.num_rows == 2 * 2 * X.numel()


@torch.no_grad()
def test_activity_is_counted_for_all_experts():
    mixture = model().mixtures()[0]
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    scores, active = scores_and_activity(mixture, x)
    assert torch.equal(scores, mixture.scores(x))
    for row in range(5):
        for expert in range(4):
            units = x[row] @ mixture.encoder[expert] + mixture.bias[expert]
            assert active[row, expert] == sum(float(unit) > 0 for unit in units)


class Windows:
    """Five batches of two windows; the order depends on seed and epoch."""

    def batches(self, split, size, seed=None, epoch=0):
        order = np.random.default_rng([seed or 0, epoch]).permutation(5)
        return ((X[i % 3 : i % 3 + 1, :-1].repeat(size, 1), X[i % 3 : i % 3 + 1, 1:].repeat(size, 1)) for i in order)

    def loss(self, net, batch, label_smoothing=0.0):
        return torch.nn.functional.cross_entropy(net(batch[0]).flatten(0, 1), batch[1].flatten())


def test_the_loss_adds_the_balance_of_each_layer_of_several_experts():
    texts = BalancedTexts(Windows(), steps=2)
    batch = next(texts.batches("train", 2))
    for net, layers in ((model(), 2), (dense(), 0)):
        plain = Windows().loss(net, batch)
        added = sum(mixture.balance for mixture in net.mixtures()) if layers else torch.zeros(())
        torch.testing.assert_close(texts.loss(net, batch), plain + BALANCE * added)
    assert BALANCE == 0.01


def test_training_takes_so_many_batches_of_each_epochs_own_order():
    whole, part = Windows(), BalancedTexts(Windows(), steps=3)
    for epoch in (0, 1):
        for (x, _), (wanted, _) in zip(
            part.batches("train", 2, 7, epoch), list(whole.batches("train", 2, 7, epoch))[:3], strict=True
        ):
            assert torch.equal(x, wanted)
    assert part.metrics(SimpleNamespace(), "valid") == {}
    with pytest.raises(InputError, match="steps: is 6 where train has 5 batches of 2; lower it"):
        list(BalancedTexts(Windows(), steps=6).batches("train", 2))


def test_a_mixture_learns_and_the_same_seed_gives_the_same_bits():
    settings = {"epochs": 8, "batch_size": 2, "learning_rate": 1e-2, "weight_decay": 0.01, "warmup": 0.1}

    def trained():
        net = build("moe_transformer", seed=2, **SIZE, experts=4, k=2)
        return net, fit_adamw(net, BalancedTexts(Windows(), 5), **settings, label_smoothing=0.0, seed=0)

    (first, history), (second, _) = trained(), trained()
    losses = [value for metric, value, _ in history if metric == "loss"]
    assert len(losses) == 40 and losses[-1] < losses[0] - 0.5
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
