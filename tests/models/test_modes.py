"""Inside, every module is in eval mode; afterwards each is in the mode it had, whatever happened."""

import pytest
import torch
from torch import nn

from winnow.models.modes import evaluating


def mixed():
    """A model that trains, one part of which does not."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()))
    model.train()
    model[1][0].eval()
    return model


def modes(model):
    return [module.training for module in model.modules()]


def test_each_module_has_its_own_mode_again():
    model = mixed()
    before = modes(model)
    with evaluating(model):
        assert not any(modes(model))
        x = torch.randn(4, 3)
        assert torch.equal(model(x), model(x))
    assert modes(model) == before == [True, True, True, False, True]


def test_a_model_in_eval_mode_stays_there():
    model = mixed().eval()
    with evaluating(model):
        pass
    assert not any(modes(model))


def test_an_error_inside_leaves_the_modes_as_they_were():
    model = mixed()
    before = modes(model)
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert modes(model) == before
