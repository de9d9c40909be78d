"""What stands beside prototype networks when prototypes are judged: other heads on a trained trunk, and a control.

Components and the head of PIPNet: `winnow.train.deep_components`. A network without prototypes, whose Grad-CAM
(`winnow.attribution.gradients`) takes the place of a prototype for each class, is a control, as are prototypes drawn
anew and the middle of the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from winnow.attribution.gradients import grad_cam
from winnow.evaluate.prototype_judging import with_random_prototypes
from winnow.models.protopnet import ProtoPNet
from winnow.train.deep_components import DeepCBC, DeepRecipe, Head, PipnetHead, fit_deep

BATCH = 128
HEADS: dict[str, Head] = {"components": "cbc", "pipnet": "pipnet"}


class OnTrunk(nn.Module):
    """Components detected on the last map of a prototype network's trunk, seen as prototypes: images -> scores."""

    def __init__(self, trunk: ProtoPNet, components: DeepCBC) -> None:
        super().__init__()
        self.trunk, self.components = trunk, components

    def _features(self, x: Tensor) -> Tensor:
        return self.trunk.blocks_after(self.trunk.front(x)[1])

    def maps(self, x: Tensor) -> Tensor:
        """float32[n, J, h, w]: how much each component is detected at each place."""
        return self.components.maps(self._features(x))

    @torch.no_grad()
    def class_of(self) -> Tensor:
        """int64[J]: the class for which the presence of each component speaks most, the first of equals."""
        head = self.components.head
        if isinstance(head, PipnetHead):
            return head.weight.relu().argmax(dim=1)
        plus, minus = head.probabilities()
        return head.class_of[(plus - minus).argmax(dim=1)]

    def forward(self, x: Tensor) -> Tensor:
        """Scores [n, classes]."""
        scores: Tensor = self.components(self._features(x))
        return scores


@torch.no_grad()
def deep_features(trunk: ProtoPNet, x: Tensor) -> Tensor:
    """The trunk's last map on images: float32[n, c, h, w]."""
    return torch.cat([trunk.blocks_after(trunk.front(batch)[1]) for batch in x.split(BATCH)])


def fit_on_trunk(
    trunk: ProtoPNet, features: Tensor, labels: Tensor, head: Head, recipe: DeepRecipe, seed: int
) -> OnTrunk:
    """As many components as the network has prototypes, with a head, on the trunk as it is.

    features: of the training images, `deep_features`. The views that the authors make of images are made of these
    maps, with noise in units of each channel's standard deviation.
    """
    deviation = features.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
    model = DeepCBC(nn.Identity(), features.shape[1], len(trunk.class_of()), trunk.classes, head, seed)
    fit_deep(model, features / deviation, labels, recipe, seed)
    with torch.no_grad():
        model.detector.weight.div_(deviation)
    return OnTrunk(trunk, model.eval())


class GradCamMaps(nn.Module):
    """Grad-CAM of a network without prototypes, a map for each class, seen as prototypes."""

    def __init__(self, model: Any, layer: str, classes: int) -> None:
        super().__init__()
        self.model, self.layer, self.classes = model.eval(), layer, classes

    def maps(self, x: Tensor) -> Tensor:
        """float32[n, classes, h, w]; constant where no evidence is positive."""
        with torch.enable_grad():
            found = [grad_cam(self.model, x, torch.full((len(x),), c), self.layer) for c in range(self.classes)]
        return torch.stack(found, dim=1).detach()

    def class_of(self) -> Tensor:
        """int64[classes]"""
        return torch.arange(self.classes)

    def forward(self, x: Tensor) -> Tensor:
        """The network's logits [n, classes]."""
        logits: Tensor = self.model(x)
        return logits


def arms_of(
    networks: Mapping[str, Any],
    plain: GradCamMaps,
    images: Tensor,
    labels: Tensor,
    recipe: DeepRecipe,
    seed: int,
) -> dict[str, tuple[str, Any]]:
    """Variant -> its system and network: those given, and beside them other heads and controls on the first's trunk.

    images, labels: the training split, which the other heads are fitted to. The network of `image centre` only says
    which prototypes there are.
    """
    first = next(iter(networks.values()))
    arms: dict[str, tuple[str, Any]] = {name: ("protopnet", model) for name, model in networks.items()}
    features = deep_features(first, images)
    for name, head in HEADS.items():
        arms[name] = (name, fit_on_trunk(first, features, labels, head, recipe, seed))
    arms["grad-cam"] = ("grad_cam", plain)
    arms["random prototypes"] = ("random_prototypes", with_random_prototypes(first, seed))
    arms["image centre"] = ("centre", first)
    return arms
