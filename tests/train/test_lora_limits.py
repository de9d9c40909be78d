"""Gradients beside autograd's and differences, fast ones beside exact ones, adapters beside merged ones."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from winnow.errors import InputError
from winnow.models import build
from winnow.models.rotary import rotated
from winnow.train.lora_limits import (
    Head,
    LoRALinear,
    largest_entries,
    lora_gradients_exact,
    lora_gradients_polynomial,
    score_gradient,
)

ALPHA = 3.0


def problem(names=("query", "value"), length=12, d=4, r=2, size=0.4, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return size * torch.randn(*shape, generator=generator, dtype=torch.float64)

    head = Head(draw(length, d), *(draw(d, d) for _ in range(3)), draw(length, d))
    return head, {name: (draw(d, r), draw(r, d)) for name in names}


def loss(head, adapters, scale=None):
    """The definition, by torch's own attention."""
    weights = {name: getattr(head, name) for name in ("query", "key", "value")}
    for name, (b, a) in adapters.items():
        weights[name] = weights[name] + ALPHA / a.shape[0] * b @ a
    query, key, value = (head.inputs @ weights[name] for name in ("query", "key", "value"))
    return (
        scaled_dot_product_attention(query[None], key[None], value[None], scale=scale)[0] - head.target
    ).square().sum() / 2


FULL = ("query", "key", "value")


@pytest.mark.parametrize("names", [("query", "value"), FULL, ("key",)])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_exact_gradients_are_autograds(names, scale):
    head, adapters = problem(names, size=1.0)
    leaves = [part.requires_grad_() for pair in adapters.values() for part in pair]
    expected = torch.autograd.grad(loss(head, adapters, scale), leaves)
    found = lora_gradients_exact(head, adapters, ALPHA, scale)
    assert list(found) == list(names)
    for ours, theirs in zip([part for pair in found.values() for part in pair], expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_exact_gradients_are_differences_of_the_loss():
    head, adapters = problem(length=6, size=1.0)
    found, step = lora_gradients_exact(head, adapters, ALPHA), 1e-6
    b, a = adapters["query"]
    moved = [(b + sign * step * torch.ones_like(b), a) for sign in (1, -1)]
    up, down = (loss(head, adapters | {"query": pair}) for pair in moved)
    assert (up - down) / (2 * step) == pytest.approx(float(found["query"][0].sum()), rel=1e-6)


def test_gradients_by_scores_sum_to_zero_for_each_query():
    head, _ = problem(size=2.0)
    rows = score_gradient(head.inputs, head.inputs.flip(0), head.target, head.inputs, 0.7)
    assert rows.sum(1).abs().max() < 1e-12 and rows.abs().max() > 0.1


@pytest.mark.parametrize("names", [("query", "value"), FULL])
def test_fast_gradients_come_to_the_exact_ones(names):
    head, adapters = problem(names)
    exact = lora_gradients_exact(head, adapters, ALPHA, 0.5)
    errors = []
    for degree in (0, 1, 2, 4, 16):
        found, told = lora_gradients_polynomial(head, adapters, ALPHA, degree, 0.5)
        assert told.rank == math.comb(4 + degree, degree) and list(found) == list(names)
        gaps = [(x - y).norm() / y.norm() for n in names for x, y in zip(found[n], exact[n], strict=True)]
        errors.append(max(gaps).item())
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-11 and errors[1] > 1e-6


def test_what_the_fast_gradients_rest_on_is_told():
    head, adapters = problem()
    _, told = lora_gradients_polynomial(head, adapters, ALPHA, 2)
    b, a = adapters["query"]
    tops = [(head.inputs @ w).abs().max().item() for w in (head.query + ALPHA / 2 * b @ a, head.key)]
    assert told.gamma == pytest.approx(max(tops))
    score = 2 * tops[0] * tops[1]  # d / sqrt(d)
    assert told.relative == pytest.approx(score**3 / 6 * math.exp(2 * score))
    exponents = torch.linspace(-score, score, 101, dtype=torch.float64)
    series = 1 + exponents + exponents**2 / 2
    assert ((series - exponents.exp()) / exponents.exp()).abs().max() <= told.relative
    assert lora_gradients_polynomial(head, adapters, ALPHA, 2, limit=max(tops) + 1e-9)[1] == told
    with pytest.raises(InputError, match=f"queries and keys reach {max(tops):.4g}, above 0.01; normalise them"):
        lora_gradients_polynomial(head, adapters, ALPHA, 2, limit=0.01)


@pytest.mark.parametrize("bias", [True, False])
def test_a_merged_adapter_is_the_same_function(bias):
    torch.manual_seed(0)
    layer, x = LoRALinear(nn.Linear(6, 5, bias=bias), rank=3, alpha=6), torch.randn(7, 6)
    assert torch.equal(layer(x), layer.base(x))
    assert {n for n, p in layer.named_parameters() if p.requires_grad} == {"down", "up"}
    nn.init.normal_(layer.up)
    assert torch.allclose(layer(x), layer.base(x) + 2 * x @ (layer.up @ layer.down).T, atol=1e-5)
    merged = layer.merged()
    assert torch.allclose(merged(x), layer(x), atol=1e-5) and (merged.bias is not None) == bias


def test_a_new_adapter_is_of_rank_four_and_starts_as_the_frozen_layer():
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(400, 9))
    assert layer.down.shape == (4, 400) and layer.up.shape == (9, 4) and layer.gain == 2
    # Uniform on +- 1 / sqrt(inputs), as torch draws its own linear layers.
    assert 0.9 / 20 < layer.down.abs().max() <= 1 / 20
    assert layer.down.std().item() == pytest.approx(1 / 20 / math.sqrt(3), rel=0.05)
    assert LoRALinear(nn.Linear(6, 5), 1).gain == 8 and LoRALinear(nn.Linear(6, 5), 5).down.shape == (5, 6)


def test_scores_whose_exponential_no_float_holds_have_no_useful_bound():
    head, adapters = problem()
    _, told = lora_gradients_polynomial(head._replace(inputs=100 * head.inputs), adapters, ALPHA, 2)
    assert told.gamma > 30 and told.relative > 1e300


def test_largest_entries_are_those_of_the_heads():
    model = build("transformer", vocabulary=11, width=8, layers=2, heads=2, seed=1).eval()
    x = torch.randint(11, (3, 9), generator=torch.Generator().manual_seed(0))
    rows = largest_entries(model, x)
    assert [(row["layer"], row["head"]) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert rows[0]["bound"] == pytest.approx(math.sqrt(math.log(9)))
    last = model.blocks[1]
    normed = last.attention_norm(model.blocks[0](model.embedding(x)))
    for name in ("query", "key"):
        heads = rotated(getattr(last.attention, name)(normed).unflatten(-1, (2, 4)).transpose(1, 2))
        assert rows[3][name] == pytest.approx(heads[:, 1].abs().max().item() / 4**0.25, rel=1e-5)


def test_all_norms_of_adapted_heads_are_those_of_their_weights():
    model = build("transformer", vocabulary=11, width=8, layers=1, heads=2, seed=1).eval()
    attention = model.blocks[0].attention
    attention.query, attention.key = LoRALinear(attention.query, 2), LoRALinear(attention.key, 2)
    for part in (attention.query, attention.key):
        nn.init.normal_(part.up)
    x = torch.randint(11, (3, 9), generator=torch.Generator().manual_seed(0))
    (_, row) = largest_entries(model, x)
    normed, half = model.blocks[0].attention_norm(model.embedding(x)), slice(4, 8)
    for name in ("query", "key"):
        layer = getattr(attention, name)
        for column, weight in ((name, layer.merged().weight), (f"frozen_{name}", layer.base.weight)):
            found = rotated(normed @ weight[half].T).abs().max().item() / 4**0.25
            assert row[column] == pytest.approx(found, rel=1e-4)
    product = normed @ attention.query.merged().weight[half].T @ attention.key.merged().weight[half]
    assert row["product"] == pytest.approx(product.abs().max().item() / 2, rel=1e-4)
    assert len({row[name] for name in ("query", "key", "frozen_query", "frozen_key", "product")}) == 5


def test_merging_all_adapters_of_a_model_leaves_its_logits():
    model = build("transformer", vocabulary=11, width=8, layers=2, heads=2, seed=1).eval()
    x = torch.randint(11, (3, 9), generator=torch.Generator().manual_seed(0))
    plain = model(x)
    for block in model.blocks:
        for name in ("query", "value"):
            layer = LoRALinear(getattr(block.attention, name), 2)
            nn.init.normal_(layer.up)
            setattr(block.attention, name, layer)
    adapted = model(x)
    for block in model.blocks:
        for name in ("query", "value"):
            setattr(block.attention, name, getattr(block.attention, name).merged())
    assert torch.allclose(model(x), adapted, atol=1e-5) and not torch.allclose(adapted, plain, atol=1e-2)


def test_weights_that_do_not_sum_to_more_than_zero_are_counted():
    head, adapters = problem(size=1.0)
    head = head._replace(inputs=3 * head.inputs)
    b, a = adapters["query"]
    scores = (head.inputs @ (head.query + ALPHA / 2 * b @ a)) @ (head.inputs @ head.key).T / 2
    expected = int(((1 + scores).sum(1) <= 0).sum())
    assert lora_gradients_polynomial(head, adapters, ALPHA, 1)[1].negative == expected > 0
    assert lora_gradients_polynomial(head, adapters, ALPHA, 2)[1].negative == 0


def test_bad_input_is_named():
    head, adapters = problem()
    b, a = adapters["query"]
    with pytest.raises(InputError, match="unknown name 'output'; use query, key, value"):
        lora_gradients_exact(head, {"output": (b, a)}, ALPHA)
    for pair in ((b[:3], a), (b, a[:1]), (b, a[:, :3]), (torch.ones(4, 5), torch.ones(5, 4))):
        with pytest.raises(InputError, match=r"adapters: query has .*; give \(4, r\) and \(r, 4\) with r up to 4"):
            lora_gradients_exact(head, {"query": pair}, ALPHA)
    with pytest.raises(InputError, match="degree: is -1"):
        lora_gradients_polynomial(head, adapters, ALPHA, -1)
    with pytest.raises(InputError, match="degree: is 40, rank 135751 at 4 dimensions"):
        lora_gradients_polynomial(head, adapters, ALPHA, 40)
    for rank in (0, 6):
        with pytest.raises(InputError, match=f"rank: is {rank}; give 1 to 5"):
            LoRALinear(nn.Linear(6, 5), rank)
