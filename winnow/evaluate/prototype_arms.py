"""What stands beside prototype networks when prototypes are judged: other heads on a trained trunk, and a control.

Components and the head of PIPNet: `winnow.train.deep_components`. A network without prototypes, whose Grad-CAM
(`winnow.attribution.gradients`) takes the place of a prototype for each class, is a control, as are prototypes drawn
anew and the middle of the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from winnow.attribution.gradients import grad_cam
from winnow.errors import InputError
from winnow.evaluate.prototype_judging import with_random_prototypes
from winnow.models.protopnet import FROZEN, ProtoPNet
from winnow.train.deep_components import DeepCBC, DeepRecipe, Head, PipnetHead, fit_deep

BATCH = 128
HEADS: dict[str, Head] = {"components": "cbc", "pipnet": "pipnet"}


class AfterFront(nn.Module):
    """A prototype network behind the layers that stay as they are: what these put out -> logits.

    Networks of one trunk share these layers, so they run once for all: `shared_fronts`.
    """

    def __init__(self, network: ProtoPNet) -> None:
        super().__init__()
        self.network = network

    def maps(self, middle: Tensor) -> Tensor:
        """float32[n, J, h, w]: similarity of each position to each prototype."""
        return self.network.from_front(middle).maps

    def class_of(self) -> Tensor:
        """int64[J]: the class of each prototype."""
        return self.network.class_of()

    def forward(self, middle: Tensor) -> Tensor:
        """Logits [n, classes]."""
        return self.network.from_front(middle).logits


class OnTrunk(nn.Module):
    """Components detected on the last map of a prototype network's trunk, seen as prototypes; input as `AfterFront`."""

    def __init__(self, trunk: ProtoPNet, components: DeepCBC) -> None:
        super().__init__()
        self.trunk, self.components = trunk, components

    def maps(self, middle: Tensor) -> Tensor:
        """float32[n, J, h, w]: how much each component is detected at each place."""
        return self.components.maps(self.trunk.blocks_after(middle))

    @torch.no_grad()
    def class_of(self) -> Tensor:
        """int64[J]: the class for which the presence of each component speaks most, the first of equals."""
        head = self.components.head
        if isinstance(head, PipnetHead):
            return head.weight.relu().argmax(dim=1)
        plus, minus = head.probabilities()
        return head.class_of[(plus - minus).argmax(dim=1)]

    def forward(self, middle: Tensor) -> Tensor:
        """Scores [n, classes]."""
        scores: Tensor = self.components(self.trunk.blocks_after(middle))
        return scores


@torch.no_grad()
def shared_fronts(networks: Sequence[ProtoPNet], *images: Tensor) -> list[Tensor]:
    """What the layers that stay as they are put out on sets of images, for all networks: float32[n, c, h, w] each.

    Raises InputError for networks whose first layers differ.
    """
    states = [{k: v for k, v in network.state_dict().items() if _in_front(k)} for network in networks]
    for i, state in enumerate(states):
        if any(not torch.equal(value, state[name]) for name, value in states[0].items()):
            raise InputError(f"network {i} has other first layers than network 0; judge them one by one")
    return [torch.cat([networks[0].front(batch)[1] for batch in x.split(BATCH)]) for x in images]


def _in_front(name: str) -> bool:
    block = name.split(".")[1] if name.startswith("blocks.") else ""
    return name.startswith(("stem.", "input_")) or (block.isdigit() and int(block) < FROZEN)


def fit_on_trunk(
    trunk: ProtoPNet, middle: Tensor, labels: Tensor, head: Head, recipe: DeepRecipe, seed: int
) -> OnTrunk:
    """As many components as the network has prototypes, with a head, on the trunk as it is.

    middle: of the training images, `shared_fronts`. The views that the authors make of images are made of the trunk's
    last maps, with noise in units of each channel's standard deviation.
    """
    with torch.no_grad():
        features = torch.cat([trunk.blocks_after(batch) for batch in middle.split(BATCH)])
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
    networks: Mapping[str, ProtoPNet], middle: Tensor, labels: Tensor, recipe: DeepRecipe, seed: int
) -> dict[str, tuple[str, AfterFront | OnTrunk]]:
    """Variant -> its system and network: those given, and beside them other heads and controls on the first's trunk.

    middle, labels: the training split, which the other heads are fitted to. The network of `image centre` only says
    which prototypes there are.
    """
    first = next(iter(networks.values()))
    arms: dict[str, tuple[str, AfterFront | OnTrunk]] = {
        name: ("protopnet", AfterFront(model)) for name, model in networks.items()
    }
    for name, head in HEADS.items():
        arms[name] = (name, fit_on_trunk(first, middle, labels, head, recipe, seed))
    arms["random prototypes"] = ("random_prototypes", AfterFront(with_random_prototypes(first, seed)))
    arms["image centre"] = ("centre", AfterFront(first))
    return arms
