"""Transformers with other positions or feed-forward layers go a transformer's whole way: files, training, pruning."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from winnow.compress import compress
from winnow.compress._measure import summary
from winnow.compress.quantization import round_to_int8
from winnow.models import build, load_card, load_masks, load_model, save_model
from winnow.models.hooks import capture, run_with
from winnow.pipeline.tables import write_parquet
from winnow.train.adamw import fit_adamw
from winnow.workloads import load_workload
from winnow.workloads.text_tables import TextMeta

SHAPE = {"vocabulary": 20, "width": 16, "layers": 2, "heads": 2}
VARIANTS = {
    "harmonic": ("positional_transformer", {"position": "additive_harmonic", "strength": 1.0}),
    "factored": ("positional_transformer", {"position": "factored", "hidden": 24}),
    "learned": ("positional_transformer", {"position": "split", "learned": True}),
    "experts": ("moe_x_transformer", {"experts": 4, "k": 2, "hidden": 12, "router": "sparsity"}),
    "switch": ("moe_x_transformer", {"experts": 3, "k": 1, "hidden": 8, "router": "learned", "activation": "gelu"}),
}


def model(variant, seed=3):
    name, arguments = VARIANTS[variant]
    return build(name, seed=seed, **SHAPE, **arguments).eval()


def far(net):
    """The model with weights far from their start, where attention and experts are nearly even."""
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return net


def tokens(n, t, seed=0):
    return torch.randint(0, 20, (n, t), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture
def workload(tmp_path):
    """Runs of sixteen tokens, which a model of one layer can foretell."""
    for split, times in (("train", 40), ("valid", 4)):
        documents = pa.array([list(range(1, 17)) * times + [0]], pa.large_list(pa.uint16()))
        table = pa.table({"tokens": documents, "bytes": pa.array([3 * (16 * times + 1)], pa.int64())})
        write_parquet(table, tmp_path / f"{split}.parquet", metadata=TextMeta(20, 8, "w").encode())
    return load_workload(tmp_path)


def test_a_saved_model_comes_back_bit_for_bit(tmp_path, variant):
    net, ids, path = far(model(variant)), tokens(2, 7), tmp_path / "m.safetensors"
    save_model(net, path, "python")
    name, arguments = VARIANTS[variant]
    card = load_card(path)
    assert card["model"] == name and card["arguments"].items() >= (SHAPE | arguments).items()
    torch.testing.assert_close(load_model(path)(ids), net(ids), rtol=0, atol=0)
    again, other = (model(variant, seed=seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(tensor, again[key]) for key, tensor in model(variant).state_dict().items())
    assert not torch.equal(again["embedding.weight"], other["embedding.weight"])


@torch.no_grad()
def test_no_token_sees_a_later_one(variant):
    net, ids = far(model(variant)), tokens(3, 12)
    changed = ids.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 20
    torch.testing.assert_close(net(ids)[:, :7], net(changed)[:, :7])
    assert not torch.allclose(net(ids)[:, 7:], net(changed)[:, 7:])
    torch.testing.assert_close(net(ids)[1:2], net(ids[1:2]))


def test_activations_are_read_and_replaced(variant):
    net, ids = model(variant), tokens(2, 5)
    for point in net.hook_points():
        assert capture(net, ids, point).shape == (10, 16)
        assert run_with(net, ids, point, torch.zeros_like).shape == (2, 5, 20)
    assert net.hook_points() == ["blocks.0.mlp", "blocks.0", "blocks.1.mlp", "blocks.1"]


def test_training_takes_it_to_what_repeats(workload, variant):
    name, arguments = VARIANTS[variant]
    net = workload.build(name, width=16, layers=1, heads=2, **arguments)
    before = workload.metrics(net, "valid")
    history = fit_adamw(
        net, workload, epochs=6, batch_size=8, learning_rate=2e-2, weight_decay=0.01, warmup=0.1, label_smoothing=0.0,
        seed=0,
    )  # fmt: skip
    after = workload.metrics(net, "valid")
    assert after["accuracy"] > 0.9 and after["bits_per_byte"] < before["bits_per_byte"] / 3
    losses = [value for metric, value, _ in history if metric == "loss"]
    assert losses[-1] < losses[0] / 3
    start = workload.build(name, width=16, layers=1, heads=2, **arguments).state_dict()
    # Those of the learned strength and of every expert among them.
    assert not any(torch.equal(parameter, start[key]) for key, parameter in net.named_parameters())


@pytest.mark.parametrize("variant", ["harmonic", "experts", "switch"])
@pytest.mark.parametrize("method", ["global_magnitude", "snip", "hydra"])
def test_it_is_pruned_rounded_and_read_again(tmp_path, workload, variant, method):
    gradual = {"gradual_steps": 2} if method == "snip" else {}
    settings = {"sparsity": 0.5, "seed": 0, "epochs": 2 if method == "hydra" else 1, "lr": 0.05, "batch_size": 16}
    pruned, masks, _ = compress(method, far(model(variant)), workload, **settings, **gradual)
    scales = round_to_int8(pruned) if method == "global_magnitude" else None
    save_model(pruned, tmp_path / "m.safetensors", "python", masks=masks, scales=scales)
    loaded, ids = load_model(tmp_path / "m.safetensors"), tokens(2, 8)
    torch.testing.assert_close(loaded(ids), pruned(ids), rtol=0, atol=0)
    found = load_masks(tmp_path / "m.safetensors")
    kept, all_weights = sum(int(mask.sum()) for mask in found.values()), sum(mask.numel() for mask in found.values())
    assert kept == all_weights - all_weights // 2
    expected = summary(pruned, masks, workload.example_inputs())
    assert expected["nonzero"] == kept and np.isfinite(expected["flops_ratio"])


class Masking(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize("wrap", [lambda net: net, Masking])
def test_experts_are_balanced_while_a_model_trains_and_not_where_it_is_judged(workload, wrap):
    net, batch = far(model("switch")), next(workload.batches("train", 4))
    wrapped, routers = wrap(net), [block.mlp.router.weight for block in net.blocks]

    def plain():
        return nn.functional.cross_entropy(net(batch[0]).flatten(0, 1), batch[1].flatten())

    # The only expert that is chosen has the weight 1 whatever the router says, so nothing else reaches the router.
    loss = workload.loss(wrapped.train(), batch)
    balance = sum(block.mlp.balance for block in net.blocks)
    assert loss.item() == pytest.approx(plain().item() + 0.01 * balance.item(), abs=1e-6)
    assert balance.item() > 2.001
    gradients = torch.autograd.grad(loss, routers, retain_graph=True)
    for found, expected in zip(gradients, torch.autograd.grad(balance, routers), strict=True):
        assert found.abs().max() > 1e-5 and torch.allclose(found, 0.01 * expected, atol=1e-7)
    net.eval()  # as pruning takes scores, in whatever mode its wrapper is
    judged = workload.loss(wrapped, batch)
    assert torch.equal(judged, plain())
    assert all(gradient.abs().max() < 1e-7 for gradient in torch.autograd.grad(judged, routers))
    assert workload.loss(lambda x: net(x), batch).item() == judged.item()
    assert workload.metrics(wrapped.train(), "valid") == workload.metrics(net.eval(), "valid")
