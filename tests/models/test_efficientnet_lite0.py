"""The network is the published one: its padding is TensorFlow's, its weights say what is on two photos."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.models import build
from winnow.models.efficientnet_lite0 import (
    EfficientNetLite0,
    InvertedResidual,
    SameConv2d,
    published_state,
    with_imagenet_weights,
)
from winnow.pipeline.weights import read_weights

ROOT = Path(__file__).parents[2]


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2, 3]))
@settings(max_examples=60, deadline=None)
def test_padding_is_tensorflows(height, width, kernel, stride):
    """TensorFlow's rule by brute force: output i is centred so that all needed padding is split, more at the end."""
    torch.manual_seed(height * 100 + width)
    layer = SameConv2d(1, 1, kernel, stride, bias=False).double()
    x = torch.randn(1, 1, height, width, dtype=torch.float64)
    rows, columns = -(-height // stride), -(-width // stride)
    top = max((rows - 1) * stride + kernel - height, 0) // 2
    left = max((columns - 1) * stride + kernel - width, 0) // 2
    expected = torch.zeros(rows, columns, dtype=torch.float64)
    for i in range(rows):
        for j in range(columns):
            for a in range(kernel):
                for b in range(kernel):
                    y, z = i * stride - top + a, j * stride - left + b
                    if 0 <= y < height and 0 <= z < width:
                        expected[i, j] += layer.weight[0, 0, a, b].detach() * x[0, 0, y, z]
    assert torch.allclose(layer(x)[0, 0], expected, atol=1e-12)


def test_sizes_are_those_of_the_published_network():
    model = EfficientNetLite0(3, 224, 224, 1000)
    assert sum(p.numel() for p in model.parameters()) == 4_652_008  # Lite0 as TensorFlow's model garden counts it
    shapes = [tuple(model.features(torch.zeros(1, 3, 128, 128), last).shape[1:]) for last in (0, 2, 4, 7, 10, 14, 15)]
    assert shapes == [(16, 64, 64), (24, 32, 32), (40, 16, 16), (80, 8, 8), (112, 8, 8), (192, 4, 4), (320, 4, 4)]


def test_a_block_adds_its_input_only_where_shapes_stay():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 6)
    block = InvertedResidual(4, 4, 3, 1, 6).eval()
    assert torch.allclose(block(x) - x, block.project(block.depthwise(block.expand(x))), atol=1e-6)
    for other in (InvertedResidual(4, 5, 3, 1, 6).eval(), InvertedResidual(4, 4, 3, 2, 6).eval()):
        assert torch.equal(other(x), other.project(other.depthwise(other.expand(x))))


def test_the_registry_builds_it_for_other_images():
    model = build("efficientnet_lite0", in_channels=1, height=32, width=32, classes=5).eval()
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 5)
    names = dict(model.named_modules())
    assert all(point in names for point in model.hook_points())


@pytest.mark.parametrize(
    ("photo", "expected"),
    # ImageNet: palace, monastery, bell cote; daisy.
    [("china.jpg", {698, 663, 442}), ("flower.jpg", {985})],
)
def test_the_published_weights_see_what_is_on_a_photo(photo, expected):
    from sklearn.datasets import load_sample_image

    model = with_imagenet_weights(published_state(read_weights("efficientnet_lite0", ROOT / "data/sources.yaml")))
    image = torch.tensor(load_sample_image(photo)).permute(2, 0, 1)[None].float()
    side = min(image.shape[2:])
    top, left = (image.shape[2] - side) // 2, (image.shape[3] - side) // 2
    crop = image[:, :, top : top + side, left : left + side]
    crop = torch.nn.functional.interpolate(crop, (224, 224), mode="bicubic", antialias=True).clamp(0, 255)
    with torch.no_grad():
        best = model((crop - 127) / 128).topk(3).indices[0].tolist()
    assert best[0] in expected


def test_weights_of_another_network_are_refused():
    with pytest.raises(InputError, match="conv1.weight"):
        published_state({"conv1.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="do not fit EfficientNet-Lite0"):
        with_imagenet_weights({"stem.convolution.weight": torch.zeros(32, 3, 3, 3)})
