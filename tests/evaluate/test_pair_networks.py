import math

import pytest
import torch
from torch import nn

from winnow.dictionaries.interaction_basis import layer_values
from winnow.errors import InputError
from winnow.evaluate.pair_networks import (
    LOOK_EVERY,
    disguised,
    network_of,
    pair_accuracy,
    pair_loss,
    pair_network,
    parts_of,
    train_pairs,
)


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def task():
    x = normal(0, 300, 6)
    return x, torch.stack([(x[:, 0] > 0).long(), (x[:, 1] > 0).long()], dim=1)


def trained(task, **over):
    settings = {"steps": 60, "batch_size": 32, "learning_rate": 0.02, "weight_decay": 0.0, "seed": 0, "name": "a"}
    return train_pairs(*task, [8, 7], 2, **(settings | over))


def test_a_network_is_linear_layers_with_relus_between():
    model = pair_network(6, [8, 7], 3)
    assert [type(layer) for layer in model] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(p.shape) for p in model.parameters()] == [(8, 6), (8,), (7, 8), (7,), (6, 7), (6,)]


def test_loss_and_accuracy_are_of_both_answers():
    logits = torch.tensor([[2.0, 0.0, 0.0, 1.0], [0.0, 0.0, 3.0, 0.0]])
    answers = torch.tensor([[0, 0], [1, 0]])

    def nats(own, other):
        return math.log(math.exp(own) + math.exp(other)) - own

    expected = (nats(2, 0) + nats(0, 1) + nats(0, 0) + nats(3, 0)) / 2
    assert float(pair_loss(logits, answers)) == pytest.approx(expected, rel=1e-6)
    assert pair_accuracy(logits, answers) == 0.5  # of the second pair's first answer the first of equals is told


def test_training_learns_and_is_looked_at_every_so_often(task):
    calls = []
    model, history = trained(task, progress=lambda *told: calls.append(told))
    assert [step for _, _, step in history] == [LOOK_EVERY, 2 * LOOK_EVERY, 60] and calls[-1] == (60, 60)
    assert history[-1][:2] == ("loss", pytest.approx(float(pair_loss(model(task[0]), task[1]))))
    assert history[-1][1] < history[0][1] < 2 * math.log(2)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_training_ends_at_its_target_and_the_same_seed_gives_the_same_network(task):
    long, _ = trained(task)
    model, history = trained(task, target=trained(task)[1][1][1])
    assert history[-1][2] == 2 * LOOK_EVERY
    assert trained(task)[0][0].weight.equal(long[0].weight) and not model[0].weight.equal(long[0].weight)
    assert not trained(task, seed=1)[0][0].weight.equal(long[0].weight)
    assert not trained(task, name="b")[0][0].weight.equal(long[0].weight)


def test_batches_rate_and_decay_are_those_asked_for(task):
    # One step of AdamW moves each weight by its rate, whatever the gradient, and shrinks it first.
    start = trained(task, steps=1, learning_rate=1e-12)[0][0].weight
    moved = trained(task, steps=1, learning_rate=1e-3)[0][0].weight
    assert float((moved - start).abs().max()) == pytest.approx(1e-3, rel=1e-2)
    shrunk = trained(task, steps=1, learning_rate=1e-3, weight_decay=10.0)[0][0].weight
    torch.testing.assert_close(shrunk - moved, -0.01 * start, rtol=1e-2, atol=1e-5)


def test_a_loss_that_is_not_finite_is_refused(task):
    with pytest.raises(InputError, match="at step 25; lower the learning rate"):
        trained(task, learning_rate=1e30)


def test_the_generator_of_torch_is_left_as_it_was(task):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    trained(task, steps=1)
    assert torch.rand(2).equal(expected)


def test_a_network_is_made_again_from_its_tensors(task):
    model, _ = trained(task, steps=1)
    tensors = {f"one.{name}": value for name, value in model.state_dict().items()} | {"turn": torch.zeros(2)}
    again = network_of(tensors, "one")
    assert again(task[0]).equal(model(task[0])) and not again[0].weight.requires_grad
    with pytest.raises(InputError, match="none is named 'two'"):
        network_of(tensors, "two")


def test_parts_in_double_precision_make_what_the_network_makes(task):
    model, _ = trained(task)
    values = layer_values(parts_of(model), task[0])
    assert [rows.shape[1] for rows in values] == [6, 8, 7, 4]
    torch.testing.assert_close(values[-1].float(), model(task[0]), rtol=1e-5, atol=1e-5)
    assert (values[1] >= 0).all() and model[0].weight.dtype == torch.float32


@pytest.mark.parametrize("junk", [0, 3])
def test_a_disguised_network_computes_the_same_through_layers_that_look_otherwise(task, junk):
    model, _ = trained(task)
    plain, other = (layer_values(chain, task[0]) for chain in (parts_of(model), disguised(model, 50.0, junk, 0)))
    torch.testing.assert_close(other[-1], plain[-1], rtol=1e-9, atol=1e-9)
    assert [rows.shape[1] for rows in other] == [6, 8 + junk, 7 + junk, 4]
    for own, mixed in zip(plain[1:3], other[1:3], strict=True):
        width = own.shape[1]
        matrix = torch.linalg.pinv(own) @ mixed[:, :width]  # a unit may never fire
        torch.testing.assert_close(own @ matrix, mixed[:, :width])  # linear, and of the units alone


def test_the_condition_number_and_the_junk_are_those_asked_for():
    model = pair_network(6, [5, 4], 2).requires_grad_(False)
    model[0].weight.copy_(torch.eye(5, 6))
    model[0].bias.fill_(9.0)  # every unit fires, so the first layer is what it reads
    x = normal(1, 200, 6)
    made = disguised(model, 50.0, 2, 0)[0](x.double())
    known = torch.cat([x.double(), torch.ones(200, 1).double()], dim=1)
    matrix = torch.linalg.lstsq(known, made).solution
    singular = torch.linalg.svdvals(matrix[:5, :5])
    torch.testing.assert_close(singular, 10 ** torch.linspace(math.log10(50), 0, 5).double())
    assert float(matrix[5, :5].abs().max()) < 1e-9 < float(matrix[5, 5:].abs().min())  # junk reads all of the input
    other = disguised(model, 50.0, 2, 1)[0](x.double())
    assert not torch.allclose(made, other)
