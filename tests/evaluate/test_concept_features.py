"""What is read off a layer is what its module puts out; gradients are those of closed forms."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from winnow.errors import InputError
from winnow.evaluate import concept_features
from winnow.evaluate.concept_features import (
    drawn_probe,
    layer_maps,
    logit_gradients,
    predictions,
    probe_features,
    published_features,
    seen_by_published,
)
from winnow.evaluate.concept_probes import Probe
from winnow.models.efficientnet_lite0 import PUBLISHED, EfficientNetLite0, published_state, with_imagenet_weights
from winnow.workloads.parts import probe_arrays


class Net(nn.Module):
    """Maps, a mean over places and a linear head."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.pool(self.relu(self.conv(x))).flatten(1))


def test_features_maps_and_gradients_are_those_of_the_layer():
    torch.manual_seed(0)
    model, x = Net(), torch.randn(150, 3, 6, 7)
    maps = layer_maps(model, x, "relu")
    assert torch.allclose(maps, model.relu(model.conv(x)))
    assert torch.allclose(probe_features(model, x, "relu"), maps.mean(dim=(2, 3)), atol=1e-6)
    assert torch.allclose(predictions(model, x), model(x), atol=1e-6)
    assert torch.allclose(logit_gradients(model, x, "relu", 2), model.head.weight[2].expand(150, 5), atol=1e-6)
    assert torch.allclose(probe_features(model, x, "head"), model(x), atol=1e-6)


class Bent(nn.Module):
    """Maps, dropout, squares of them at each place, and a linear head on their mean."""

    def __init__(self):
        super().__init__()
        self.conv, self.drop, self.head = nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.drop(self.conv(x)).square().mean((2, 3)))


def test_a_gradient_is_what_the_logit_gains_where_all_places_move():
    """The logit is sum_c w_c mean(f_c^2), so its slope in a common shift of channel c is 2 w_c mean(f_c)."""
    torch.manual_seed(1)
    model, x = Bent(), torch.randn(5, 3, 6, 7)
    for target in (0, 2):
        expected = 2 * model.head.weight[target] * model.eval().conv(x).mean((2, 3))
        assert torch.allclose(logit_gradients(model.train(), x, "conv", target), expected, atol=1e-6)


def test_the_model_is_asked_as_it_is_used_not_as_it_is_trained():
    torch.manual_seed(2)
    model, x = Bent(), torch.randn(5, 3, 6, 7)
    with torch.no_grad():
        maps, logits = model.eval().drop(model.conv(x)), model(x)
    for found, expected in (
        (layer_maps(model.train(), x, "conv"), maps),
        (probe_features(model.train(), x, "drop"), maps.mean((2, 3))),
        (predictions(model.train(), x), logits),
    ):
        assert torch.allclose(found, expected, atol=1e-6) and not found.requires_grad


def published_tensors():
    """Weights of the network drawn at random, under the names of the published file."""
    torch.manual_seed(3)
    old = {"stem.convolution.": "_conv_stem.", "stem.norm.": "_bn0.", "head.convolution.": "_conv_head."}
    old |= {"head.norm.": "_bn1.", "output.": "_fc."}
    inner = {
        "expand.convolution.": "_expand_conv.",
        "expand.norm.": "_bn0.",
        "depthwise.convolution.": "_depthwise_conv.",
    }
    inner |= {"depthwise.norm.": "_bn1.", "project.convolution.": "_project_conv.", "project.norm.": "_bn2."}
    tensors = {}
    for name, tensor in EfficientNetLite0(3, 32, 32, 1000).state_dict().items():
        place = name
        for new, was in (inner if name.startswith("blocks.") else old).items():
            place = place.replace(new, was)
        tensors[place.replace("blocks.", "_blocks.")] = tensor
    assert all(any(re.match(pattern, name) for pattern in PUBLISHED) for name in tensors)
    return tensors


def test_published_features_are_means_of_the_last_block_of_images_scaled_as_it_expects_them(monkeypatch):
    tensors, pixels = published_tensors(), np.random.default_rng(0).integers(0, 256, (3, 32, 40, 3)).astype(np.uint8)
    model = with_imagenet_weights(published_state(tensors))
    found = published_features(tensors, pixels)
    assert found.shape == (3, 320) and not model.training
    for i in range(3):
        x = torch.from_numpy((pixels[i].transpose(2, 0, 1).astype(np.float32) - 127) / 128)[None]
        with torch.no_grad():
            maps = model.blocks(model.stem(x))
        torch.testing.assert_close(found[i], maps[0].flatten(1).mean(1), atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(concept_features, "BATCH", 2)  # so that there is more than one batch
    torch.testing.assert_close(published_features(tensors, pixels), found, atol=1e-5, rtol=1e-4)
    parts = {
        split: Probe(np.full((1, 2), i), np.array([[True]]), np.array([i]))
        for i, split in enumerate(("train", "valid", "test"))
    }
    seen = seen_by_published(parts, tensors, pixels)
    for i, split in enumerate(("train", "valid", "test")):
        assert (
            np.allclose(seen[split].features, found[i : i + 1].numpy(), rtol=1e-4, atol=1e-5)
            and seen[split].features.dtype == np.float64
        )
        assert seen[split].predictions.tolist() == [i] and seen[split].concepts.tolist() == [[True]]
    with pytest.raises(InputError, match="do not fit"):
        published_features({name: tensor for name, tensor in tensors.items() if "_fc" not in name}, pixels)


class Drawn:
    shape = (3, 32, 32)

    @staticmethod
    def standardise(pixels):
        return torch.from_numpy(pixels).movedim(3, 1).float() / 255


def test_a_probe_set_is_drawn_as_the_renderer_draws_it_and_seen_by_the_model():
    torch.manual_seed(0)
    model = Net()
    found = drawn_probe(Drawn(), model, "relu", (3, 2, 4), 5, "b", 0.5, masked=2)
    pixels, concepts, masks = probe_arrays("b", 9, 5, 32, 0.5, 2)
    assert np.array_equal(found.pixels, pixels) and np.array_equal(found.masks, masks)
    assert len(drawn_probe(Drawn(), model, "relu", (1, 1, 1), 5, "b", 0.5).masks) == 0  # none unless asked for
    x = Drawn.standardise(pixels)
    assert torch.equal(found.images, x)
    features, classes = probe_features(model, x, "relu").numpy(), predictions(model, x).argmax(1).numpy()
    for split, rows in (("train", slice(0, 3)), ("valid", slice(3, 5)), ("test", slice(5, 9))):
        part = found.probe[split]
        assert np.array_equal(part.features, features[rows]) and part.features.dtype == np.float64
        assert np.array_equal(part.concepts, concepts[rows]) and np.array_equal(part.predictions, classes[rows])
