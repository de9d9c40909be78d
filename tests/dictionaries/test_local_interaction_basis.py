import json
from pathlib import Path

import pytest
import torch
from torch import nn

from winnow.dictionaries.interaction_basis import gradient_moment, layer_values, logit_gauge
from winnow.dictionaries.local_interaction_basis import local_interaction_basis, output_basis
from winnow.errors import InputError
from winnow.evaluate.interaction_modules import edge_strengths


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    parts = [nn.Sequential(nn.Linear(4, 6), nn.ReLU()), nn.Sequential(nn.Linear(6, 5), nn.ReLU()), nn.Linear(5, 3)]
    return [part.double().requires_grad_(False) for part in parts], normal(0, 300, 4)


def by_hand(parts, x, output, tolerance=1e-9):
    """The paper's steps one matrix at a time, with a Jacobian for each row; eigenvalues and spaces of each layer."""
    values, weights, found = layer_values(parts, x), output, []
    for part, before in zip(reversed(parts), reversed(values[:-1]), strict=True):
        centred = before - before.mean(0)
        variances, vectors = torch.linalg.eigh(torch.einsum("ni,nj->ij", centred, centred) / len(before))
        keep = variances > tolerance * variances.max()
        variances, vectors = variances[keep], vectors[:, keep]
        whiten, unwhiten = vectors @ torch.diag(variances**-0.5), torch.diag(variances**0.5) @ vectors.T
        moment = torch.zeros(before.shape[1], before.shape[1]).double()
        for row in before:
            jacobian = torch.autograd.functional.jacobian(part, row)
            moment += jacobian.T @ weights @ weights.T @ jacobian / len(before)
        eigenvalues, turned = torch.linalg.eigh(unwhiten @ moment @ unwhiten.T)
        keep = eigenvalues > tolerance * eigenvalues.max()
        eigenvalues, turned = eigenvalues[keep], turned[:, keep]
        weights = whiten @ turned @ torch.diag(eigenvalues**0.5)
        found.insert(0, (eigenvalues.flip(0), weights.flip(1)))
    return found


def test_bases_are_those_of_the_definition(network):
    parts, x = network
    bases = local_interaction_basis(parts, x, logit_gauge([3]))
    for basis, (eigenvalues, into) in zip(bases, by_hand(parts, x, logit_gauge([3])), strict=False):
        torch.testing.assert_close(basis.eigenvalues, eigenvalues, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(basis.into.abs(), into.abs(), rtol=1e-6, atol=1e-8)


def test_bases_are_those_of_rib():
    told = json.loads(Path(__file__).with_name("rib_reference.json").read_text())
    weights = {name: torch.tensor(value, dtype=torch.float64) for name, value in told["parameters"].items()}
    layers = [(weights[f"layers.{i}.W"], weights[f"layers.{i}.b"]) for i in range(3)]
    parts = [lambda v, w=w, b=b: torch.relu(v @ w + b) for w, b in layers[:2]]
    parts.append(lambda v: v @ layers[2][0] + layers[2][1])
    bases = local_interaction_basis(parts, torch.tensor(told["x"], dtype=torch.float64), torch.eye(3).double())
    for basis, theirs in zip(bases, told["layers"], strict=False):
        rank = len(basis.eigenvalues)
        eigenvalues = torch.tensor(theirs["Lambda"][1:], dtype=torch.float64).sort(descending=True).values
        torch.testing.assert_close(basis.eigenvalues, eigenvalues[:rank], rtol=1e-8, atol=0)
        assert (eigenvalues[rank:] < 1e-15).all()
        into = torch.tensor(theirs["C"], dtype=torch.float64)[:-1, 1:]
        signs = torch.sign((into * basis.into).sum(0))
        torch.testing.assert_close(basis.into, into * signs, rtol=1e-8, atol=1e-8)


def test_coordinates_vary_as_they_matter_and_weighted_gradients_are_orthonormal(network):
    parts, x = network
    bases, values = local_interaction_basis(parts, x, logit_gauge([3])), layer_values(parts, x)
    assert len(bases) == 4 and len(bases[2].eigenvalues) == 2
    for number in range(3):
        basis = bases[number]
        coordinates = basis.coordinates(values[number])
        torch.testing.assert_close(coordinates.T @ coordinates / len(x), basis.eigenvalues.diag(), rtol=1e-8, atol=1e-8)
        gradients = basis.back @ gradient_moment(parts[number], values[number], bases[number + 1].into) @ basis.back.T
        torch.testing.assert_close(gradients, torch.eye(len(gradients)).double(), rtol=1e-6, atol=1e-6)


def test_turning_a_layer_changes_neither_coordinates_nor_edges(network):
    parts, x = network
    turn = torch.linalg.qr(normal(3, 6, 6)).Q
    other = [lambda rows: parts[0](rows) @ turn, lambda rows: parts[1](rows @ turn.T), parts[2]]
    coordinates, edges = [], []
    for chain in (parts, other):
        bases, values = local_interaction_basis(chain, x, logit_gauge([3])), layer_values(chain, x)
        coordinates.append(bases[1].coordinates(values[1]).abs())
        edges.append([edge_strengths(chain[i], values[i], bases[i], bases[i + 1]) for i in range(3)])
    torch.testing.assert_close(coordinates[1], coordinates[0], rtol=1e-7, atol=1e-8)
    for own, found in zip(*edges, strict=True):
        torch.testing.assert_close(found, own, rtol=1e-7, atol=1e-8)


def test_what_the_next_part_ignores_has_no_direction(network):
    parts, x = network
    junk = normal(5, 4, 2)
    other = [lambda rows: torch.cat([parts[0](rows), rows @ junk], dim=1), lambda rows: parts[1](rows[:, :6]), parts[2]]
    plain = local_interaction_basis(parts, x, logit_gauge([3]))[1]
    found = local_interaction_basis(other, x, logit_gauge([3]))[1]
    torch.testing.assert_close(found.eigenvalues, plain.eigenvalues, rtol=1e-7, atol=1e-10)
    principal = local_interaction_basis(other, x, logit_gauge([3]), "pca")[1]
    assert len(principal.eigenvalues) > len(found.eigenvalues)


def test_one_position_is_the_same_as_none(network):
    parts, x = network
    own, found = (local_interaction_basis(parts, rows, logit_gauge([3])) for rows in (x, x[:, None]))
    for a, b in zip(own, found, strict=True):
        torch.testing.assert_close(a.into, b.into)


@pytest.mark.parametrize("kind", ["pca", "neuron", "random"])
def test_rotations_are_orthogonal_and_tell_variances(network, kind):
    parts, x = network
    values = layer_values(parts, x)
    for basis, rows in zip(local_interaction_basis(parts, x, logit_gauge([3]), kind)[:-1], values, strict=False):
        torch.testing.assert_close(basis.back @ basis.into, torch.eye(len(basis.eigenvalues)).double())
        torch.testing.assert_close(basis.coordinates(rows).square().mean(0), basis.eigenvalues)
        torch.testing.assert_close(basis.values(basis.coordinates(rows)), rows, rtol=0, atol=1e-6)
    if kind == "pca":
        assert (basis.eigenvalues.diff() <= 0).all()
    if kind == "neuron":
        assert basis.into.equal(torch.eye(5).double())


def test_random_rotations_differ_by_seed_and_layer(network):
    parts, x = network
    turned = [
        local_interaction_basis(parts, x, logit_gauge([3]), "random", seed=s, names="abc")[1].into for s in (0, 0, 1)
    ]
    assert turned[0].equal(turned[1]) and not turned[0].equal(turned[2])


def test_the_output_is_projected_and_centred():
    values, gauge = normal(6, 50, 4), logit_gauge([4])
    basis = output_basis(values, gauge)
    torch.testing.assert_close(basis.values(basis.coordinates(values)).softmax(1), values.softmax(1))
    torch.testing.assert_close(basis.coordinates(values).square().mean(0), basis.eigenvalues)


def test_what_cannot_be_is_refused(network):
    parts, x = network
    with pytest.raises(InputError, match="kind: 'ica' is no basis"):
        local_interaction_basis(parts, x, logit_gauge([3]), "ica")
    with pytest.raises(InputError, match="last: is the same in all 300 rows"):
        local_interaction_basis([lambda rows: 0 * rows, *parts], x, logit_gauge([3]), names=["input", "b", "c", "last"])
    with pytest.warns(UserWarning, match="layer 0: 3 rows"):
        local_interaction_basis(parts, x[:3], logit_gauge([3]))
