from types import SimpleNamespace

import pytest
import torch

from tests.evaluate.circuits import random_transformer
from winnow.dictionaries.interaction_basis import layer_values
from winnow.errors import InputError
from winnow.evaluate.basis_ablation import continued
from winnow.evaluate.network_sections import (
    sections_of,
    sections_of_layers,
    sections_of_sums,
    sections_of_text,
)
from winnow.models import build
from winnow.models.mlp import MLP
from winnow.workloads.modular_addition import ModularAddition


def adder():
    return random_transformer(3, vocabulary=6, layers=1, normalization="none", dtype=torch.float32)


def check(sections, names, widths):
    values = layer_values(sections.parts, sections.judged)
    assert sections.names == names and [rows.shape[-1] for rows in values] == widths
    size = widths[-1]
    torch.testing.assert_close(sections.output, torch.eye(size).double() - 1 / size)
    return values


def test_a_network_that_adds_is_cut_at_its_last_position():
    model = adder()
    sections = sections_of_sums(model, 10, 3)
    values = check(sections, ["embedding", "middle", "end", "logits"], [6, 6, 6, 6])
    tokens, sums = ModularAddition(5, 0.5, 0).arrays("all")
    every = sections.everything
    # Each pair is either judged or tells bases.
    place = {tuple(row.flatten().tolist()): i for i, row in enumerate(every)}
    own, others = ([place[tuple(row.flatten().tolist())] for row in rows] for rows in (sections.judged, sections.x))
    assert len(own) == 10 and sorted(own + others) == list(range(25)) and own != sorted(own)
    told = torch.nn.functional.cross_entropy(model(tokens[others])[:, -1].double(), sums[others])
    made = continued(sections.parts, sections.x)
    assert sections.told_loss(made) == pytest.approx(float(told), rel=1e-4)
    few = torch.nn.functional.cross_entropy(made[:4], sums[others[:4]])
    assert sections.told_loss(made[:4]) == pytest.approx(float(few))
    assert len(sections_of_sums(model, 99, 3).judged) == 12
    tokens, sums = tokens[own], sums[own]
    logits, saved = model.run(tokens, save=["blocks.0.hook_resid_mid", "blocks.0.hook_resid_post"])
    for found, expected in zip(values[1:], [*saved.values(), logits], strict=True):
        torch.testing.assert_close(found.float(), expected[:, -1], rtol=1e-4, atol=1e-5)
    assert sections.loss(values[-1]) == pytest.approx(float((logits[:, -1].argmax(1) != sums).double().mean()))
    assert (sections.edges, sections.compared) == (range(3), 1) and sections.x.shape == (15, 3, 6)
    assert model.embed.weight.dtype == torch.float32 and model.embed.weight.requires_grad  # left as it was


def test_a_network_of_several_blocks_does_not_add():
    with pytest.raises(InputError, match="has 2 blocks"):
        sections_of_sums(random_transformer(layers=2), 5, 0)


def test_a_perceptron_is_cut_before_each_linear_layer():
    model = MLP(1, 8, 8, 3, hidden=(7, 5))
    x, labels = torch.randn(20, 1, 8, 8), torch.arange(20) % 3
    sections = sections_of_layers(model, x[:15], labels[:15], x, labels)
    nats = torch.nn.functional.cross_entropy(model(x[:15]), labels[:15])
    assert sections.told_loss(continued(sections.parts, sections.x)) == pytest.approx(float(nats), rel=1e-4)
    values = check(sections, ["input", "hidden1", "hidden2", "logits"], [64, 7, 5, 3])
    torch.testing.assert_close(values[-1].float(), model(x), rtol=1e-4, atol=1e-5)
    assert (values[1] >= 0).all() and (values[2] >= 0).all() and len(sections.x) == 15
    assert sections.loss(values[-1]) == pytest.approx(float((model(x).argmax(1) != labels).double().mean()))
    assert (sections.edges, sections.compared) == (range(1, len(sections.parts)), 1)
    with pytest.raises(InputError, match="has 2 linear layers"):
        sections_of_layers(MLP(1, 8, 8, 3, hidden=(7,)), x, labels, x, labels)


def test_a_language_model_is_cut_after_each_block():
    model = random_transformer(layers=3, dtype=torch.float32)
    tokens = torch.randint(1, 11, (4, 9), generator=torch.Generator().manual_seed(0))
    x, following = tokens[:, :-1], tokens[:, 1:]
    sections = sections_of_text(model, x[:2], following[:2], x, following)
    values = check(sections, ["block1", "block2", "block3", "logits"], [6, 6, 6, 11])
    torch.testing.assert_close(values[-1].float(), model(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        continued(sections.parts, sections.x)[:, :, :].float(), model(x[:2]), rtol=1e-4, atol=1e-4
    )
    nats = -model(x).double().log_softmax(2).gather(2, following[..., None]).mean()
    assert sections.loss(values[-1]) == pytest.approx(float(nats), rel=1e-4)
    told = -model(x[:2]).double().log_softmax(2).gather(2, following[:2, :, None]).mean()
    assert sections.told_loss(values[-1][:2]) == pytest.approx(float(told), rel=1e-4)
    assert (sections.edges, sections.compared) == (range(len(sections.parts) - 1), 0)
    with pytest.raises(InputError, match="has one block"):
        sections_of_text(random_transformer(layers=1), x, following, x, following)


class Digits:
    task = "classification"

    def batches(self, split, size, seed):
        number = {"train": 1.0, "test": 2.0}[split]
        yield torch.full((size, 1, 8, 8), number + seed), torch.zeros(size, dtype=torch.long)


class Code:
    task = "language"

    def batches(self, split, size, seed):
        tokens = (torch.arange(12) + {"train": 0, "test": 1}[split] + seed).expand(size, -1) % 11
        yield tokens[:, :-1], tokens[:, 1:]


def test_examples_come_from_train_and_are_judged_on_test():
    settings = SimpleNamespace(rows=3, judged=2, positions=4, seed=0)
    sections = sections_of(build("mlp", in_channels=1, height=8, width=8, classes=3, hidden=[4, 4]), Digits(), settings)
    assert sections.x.shape == (3, 64) and (sections.x == 1).all()
    assert sections.judged.shape == (2, 64) and (sections.judged == 2).all()
    model = random_transformer(dtype=torch.float32)
    sections = sections_of(model, Code(), settings)
    assert sections.x.shape == (3, 4, 6) and sections.judged.shape == (2, 4, 6)
    own = sections_of_text(
        model, *(torch.arange(first, first + 4).expand(count, -1) for first, count in ((0, 3), (1, 3), (1, 2), (2, 2)))
    )
    assert sections.judged.equal(own.judged) and sections.x.equal(own.x)
    logits = torch.zeros(2, 4, 11).double()
    logits[:, torch.arange(4), torch.arange(2, 6)] = 50
    assert sections.loss(logits) == own.loss(logits) == pytest.approx(0, abs=1e-9)
    assert sections_of(adder(), None, settings).names[0] == "embedding"


def test_a_network_of_another_kind_is_refused():
    settings = SimpleNamespace(rows=3, judged=2, positions=4, seed=0)
    with pytest.raises(InputError, match="neither a multilayer perceptron nor a hooked transformer"):
        sections_of(torch.nn.Linear(2, 2), Digits(), settings)


def test_single_precision_computes_the_same_but_for_rounding():
    x = torch.randint(1, 7, (4, 5), generator=torch.Generator().manual_seed(0))
    model = random_transformer()
    double, single = (sections_of_text(model, x, x, x, x, dtype) for dtype in (torch.float64, torch.float32))
    values, rounded = (layer_values(of.parts, of.judged, of.judged.dtype) for of in (double, single))
    assert all(value.dtype == torch.float32 for value in rounded)
    # Rounding alone: some hundred sums of numbers of this size.
    torch.testing.assert_close(rounded[-1].double(), values[-1], rtol=1e-4, atol=1e-5)
    assert float((rounded[-1] - values[-1]).abs().max()) > 0
