"""TesNet's losses are those of loops over their definitions, and its concepts find what tells classes apart."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.train.tesnet import Tesnet, subspace_distance

CLASSES, PER_CLASS, SIZE = 3, 2, 5


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head(seed=0):
    return Tesnet(7, CLASSES, PER_CLASS, SIZE, seed)


@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_subspaces_are_as_far_apart_as_their_projections(classes, per_class, seed):
    prototypes = randn(classes * per_class, 4, seed=seed)
    onto = [p.T @ p for p in prototypes.double().numpy().reshape(classes, per_class, 4)]
    # The authors' sum runs over all ordered pairs and is halved.
    expected = 0.5 * sum(np.linalg.norm(a - b) for a in onto for b in onto) / np.sqrt(2)
    assert float(subspace_distance(prototypes, classes)) == pytest.approx(expected, rel=1e-5)


def test_orthogonal_directions_are_at_distance_one():
    assert float(subspace_distance(torch.eye(4)[:2], 2)) == pytest.approx(1)
    assert float(subspace_distance(torch.ones(2, 4), 2)) == 0


def test_maps_are_projections_and_logits_weigh_their_peaks():
    model, features = head(), randn(4, 7, 3, 2)
    with torch.no_grad():
        maps, logits = model.maps(features), model(features)
        patches = model.add_on(features)
    prototypes = torch.nn.functional.normalize(model.prototypes.detach())
    for j in range(CLASSES * PER_CLASS):
        expected = (patches * prototypes[j][:, None, None]).sum(1)
        torch.testing.assert_close(maps[:, j], expected)
    assert model.class_of().tolist() == [0, 0, 1, 1, 2, 2]
    weights = torch.full((CLASSES, 6), -0.5)
    for j, c in enumerate(model.class_of()):
        weights[c, j] = 1.0
    torch.testing.assert_close(logits, maps.flatten(2).max(2).values @ weights.T)
    assert torch.allclose(model.prototypes.norm(dim=1), torch.ones(6))


def test_the_loss_is_the_sum_of_its_parts():
    model, features, labels = head(), randn(4, 7, 3, 2), torch.tensor([0, 2, 1, 1])
    model.prototypes.data = 3 * randn(6, SIZE, seed=1)
    patches, prototypes = model.add_on(features).detach().flatten(2), model.prototypes.detach()
    loss = torch.nn.functional.cross_entropy(model(features), labels).item()
    for i in range(4):
        cosine = {
            j: max(
                float(torch.nn.functional.cosine_similarity(patches[i, :, u], prototypes[j], dim=0)) for u in range(6)
            )
            for j in range(6)
        }
        own = [value for j, value in cosine.items() if j // PER_CLASS == labels[i]]
        other = [value for j, value in cosine.items() if j // PER_CLASS != labels[i]]
        loss += (-0.8 * max(own) + 0.08 * max(other)) / 4
    for of_class in prototypes.view(CLASSES, PER_CLASS, SIZE):
        loss += 1e-4 * float((of_class @ of_class.T - torch.eye(PER_CLASS)).abs().sum())
    loss -= 1e-7 * float(subspace_distance(prototypes, CLASSES))
    assert model.loss(features, labels).item() == pytest.approx(loss, rel=1e-5)


def test_equal_seeds_give_equal_heads_and_leave_the_callers_stream_alone():
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    one = head(3)
    assert torch.equal(torch.rand(1), before)
    assert torch.equal(one.prototypes, head(3).prototypes) and not torch.equal(one.prototypes, head(4).prototypes)
    assert torch.equal(one.add_on[0].weight, head(3).add_on[0].weight)
