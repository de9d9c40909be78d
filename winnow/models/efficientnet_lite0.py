"""EfficientNet-Lite0: a network for ImageNet that runs well on a CPU, with room for its published weights.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; the Lite form
(ReLU6, no squeeze-and-excitation, fixed stem and head) is TensorFlow's of 2020. Inverted residual blocks: Sandler,
Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from winnow.errors import InputError

STEM, HEAD, IMAGENET_CLASSES = 32, 1280, 1000
# kernel, stride of the first, expansion, channels, how many
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
NORM_EPSILON, NORM_MOMENTUM = 1e-3, 0.01
PUBLISHED = {
    r"^_conv_stem\.": "stem.convolution.",
    r"^_bn0\.": "stem.norm.",
    r"^_conv_head\.": "head.convolution.",
    r"^_bn1\.": "head.norm.",
    r"^_fc\.": "output.",
    r"^_blocks\.(\d+)\._expand_conv\.": r"blocks.\1.expand.convolution.",
    r"^_blocks\.(\d+)\._bn0\.": r"blocks.\1.expand.norm.",
    r"^_blocks\.(\d+)\._depthwise_conv\.": r"blocks.\1.depthwise.convolution.",
    r"^_blocks\.(\d+)\._bn1\.": r"blocks.\1.depthwise.norm.",
    r"^_blocks\.(\d+)\._project_conv\.": r"blocks.\1.project.convolution.",
    r"^_blocks\.(\d+)\._bn2\.": r"blocks.\1.project.norm.",
}


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow does: ceil(size / stride) outputs, the odd pixel at the bottom and right."""

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> [n, c', ceil(h / stride), ceil(w / stride)]."""
        left, right, top, bottom = 0, 0, 0, 0
        (kernel_h, kernel_w), (stride_h, stride_w), (height, width) = self.kernel_size, self.stride, x.shape[-2:]
        total_h = max((-(-height // stride_h) - 1) * stride_h + kernel_h - height, 0)
        total_w = max((-(-width // stride_w) - 1) * stride_w + kernel_w - width, 0)
        left, right, top, bottom = total_w // 2, total_w - total_w // 2, total_h // 2, total_h - total_h // 2
        return super().forward(nn.functional.pad(x, (left, right, top, bottom)))


def _unit(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
) -> nn.Sequential:
    layers = OrderedDict[str, nn.Module](
        convolution=SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
        norm=nn.BatchNorm2d(outputs, NORM_EPSILON, NORM_MOMENTUM),
    )
    if not linear:
        layers["relu"] = nn.ReLU6()
    return nn.Sequential(layers)


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, project back; added to the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = _unit(inputs, hidden) if expansion > 1 else nn.Identity()
        self.depthwise = _unit(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _unit(hidden, outputs, linear=True)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, ceil(h / stride), ceil(w / stride)]."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.shortcut else out


class EfficientNetLite0(nn.Module):
    """Images [n, c, h, w] -> logits [n, classes]: stem, 16 inverted residual blocks, head, average, linear layer.

    The published weights expect three channels of values (v - 127) / 128, v from 0 to 255.
    """

    def __init__(self, in_channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        self.stem = _unit(in_channels, STEM, 3, 2)
        channels, blocks = STEM, []
        for kernel, stride, expansion, outputs, count in STAGES:
            for index in range(count):
                blocks.append(InvertedResidual(channels, outputs, kernel, stride if index == 0 else 1, expansion))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = _unit(channels, HEAD)
        self.output = nn.Linear(HEAD, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # He's rule over what leaves a channel; depthwise layers feed one each
                fan_out = layer.weight[0, 0].numel() * layer.out_channels / layer.groups
                nn.init.normal_(layer.weight, std=(2 / fan_out) ** 0.5)

    def features(self, x: Tensor, last: int) -> Tensor:
        """What block `last` (0 to 15) puts out: [n, c, h, w] -> [n, c', h', w']."""
        out: Tensor = self.blocks[: last + 1](self.stem(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes]."""
        logits: Tensor = self.output(self.head(self.blocks(self.stem(x))).mean((2, 3)))
        return logits

    def hook_points(self) -> list[str]:
        """In blocks without a shortcut, all that the rest of the network sees; and the head."""
        return [f"blocks.{last}.depthwise" for last in (1, 3, 5, 11, 15)] + ["head"]


def published_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under the names of this module.

    Raises InputError for a name that it does not know.
    """
    renamed = {}
    for name, tensor in tensors.items():
        found = [re.sub(old, new, name) for old, new in PUBLISHED.items() if re.match(old, name)]
        if len(found) != 1:
            raise InputError(f"weights: {name!r} belongs to no layer of EfficientNet-Lite0; use its published file")
        renamed[found[0]] = tensor
    return renamed


def with_imagenet_weights(tensors: Mapping[str, Tensor]) -> EfficientNetLite0:
    """The network of 1,000 ImageNet classes with the published weights, in eval mode.

    tensors: what `published_state` returns. Raises InputError where they do not fit.
    """
    model = EfficientNetLite0(3, 224, 224, IMAGENET_CLASSES)
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise InputError(
            f"weights: do not fit EfficientNet-Lite0 ({str(error).splitlines()[1].strip()[:120]})"
        ) from error
    return model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
