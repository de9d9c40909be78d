"""The simplex against its Gram matrix, and the networks around it."""

import math

import pytest
import torch
from torch import nn

from winnow.errors import InputError
from winnow.train.simplex_networks import Embedding, ExpandingNet, SimplexNet, dsimplex, load_embedding


def backbone(width=12, activation=nn.Tanh):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(8, width), activation())


@pytest.mark.parametrize("classes", [2, 3, 4, 10, 32, 257])
def test_vertices_are_unit_centred_and_equally_far_apart(classes):
    vertices = dsimplex(classes)
    d = classes - 1
    gram = (1 + 1 / d) * torch.eye(classes, dtype=torch.float64) - 1 / d
    assert vertices.shape == (classes, d)
    assert (vertices @ vertices.T - gram).abs().max() < 1e-12
    assert vertices.sum(dim=0).abs().max() < 1e-12


def test_two_vertices_are_plus_and_minus_one_and_three_a_triangle_of_unit_radius():
    assert dsimplex(2).tolist() == [[1.0], [-1.0]]
    triangle = dsimplex(3)
    sides = torch.cdist(triangle, triangle)[~torch.eye(3, dtype=torch.bool)]
    torch.testing.assert_close(sides, torch.full((6,), math.sqrt(3), dtype=torch.float64), rtol=0, atol=1e-12)
    # The formula puts the first axis' vertex on the side of the first axis.
    assert triangle[0, 0] > 0 > triangle[0, 1]
    assert triangle[2, 0] == pytest.approx(triangle[2, 1])


def test_one_class_makes_no_simplex():
    with pytest.raises(InputError, match="classes is 1; a simplex needs 2"):
        dsimplex(1)


def test_logits_are_the_features_against_the_vertices_and_a_projection_stands_only_where_widths_differ():
    model, x = SimplexNet(backbone(), 12, 8), torch.randn(5, 1, 2, 4, generator=torch.Generator().manual_seed(0))
    z, logits = model(x)
    torch.testing.assert_close(logits, z @ dsimplex(8, torch.float32).T)
    torch.testing.assert_close(z, model.backbone(x) @ model.project.weight.T)
    assert model.project.bias is None
    assert isinstance(SimplexNet(backbone(7), 7, 8).project, nn.Identity)
    assert isinstance(Embedding(backbone(6), 6, 6).project, nn.Identity)


def test_a_backbone_of_another_width_is_refused():
    with pytest.raises(InputError, match=r"features \(6,\); tell its width, not 5"):
        SimplexNet(backbone(6), 5, 8)(torch.zeros(1, 8))


@pytest.mark.parametrize("width", [12, 7])
def test_a_saved_model_gives_its_features_again_without_its_targets(width):
    x = torch.randn(5, 1, 2, 4, generator=torch.Generator().manual_seed(0))
    for model in (SimplexNet(backbone(width), width, 8), ExpandingNet(backbone(width), width, 7)):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1)
        found = load_embedding(backbone(width), width, model.state_dict())
        assert torch.equal(found.features(x), model.features(x)) and not found.training
        assert not {"vertices", "classifier"} & set(found.state_dict())


def test_a_classifier_grows_by_rows_drawn_from_the_seed_within_torchs_bound():
    model = ExpandingNet(backbone(), 12, 9)
    model.expand(40, seed=1)
    first = model.classifier.detach().clone()
    assert first.shape == (40, 9) and 0.3 < first.abs().max() <= 1 / 3 and abs(float(first.mean())) < 0.05
    model.expand(40, seed=2)
    assert torch.equal(model.classifier, first)
    model.expand(41, seed=1)
    assert torch.equal(model.classifier[:40], first) and model.classifier.requires_grad
    assert model.classifier.shape == (41, 9)
    rows = model.classifier
    model.expand(41, seed=1)
    assert model.classifier is rows  # an optimiser that holds it goes on training it
    x = torch.zeros(2, 1, 2, 4)
    z, logits = model(x)
    torch.testing.assert_close(logits, z @ model.classifier.T)
