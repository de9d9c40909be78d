"""What stands beside prototype networks when prototypes are judged: other heads on a trained trunk, and a control.

Components and the head of PIPNet: `winnow.train.deep_components`; TesNet's head: `winnow.train.tesnet`; a tree of
prototypes: `winnow.train.prototype_tree`. A network without prototypes, whose Grad-CAM
(`winnow.attribution.gradients`) takes the place of a prototype for each class, is a control, as are prototypes drawn
anew and the middle of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

from winnow.attribution.gradients import grad_cam
from winnow.errors import InputError
from winnow.evaluate.prototype_judging import with_random_prototypes
from winnow.models.adversarial import AttackedExamples
from winnow.models.fitting import fit
from winnow.models.protopnet import FROZEN, TRUNK_CHANNELS, ProtoPNet
from winnow.randomness import torch_generator
from winnow.train.deep_components import DeepCBC, DeepRecipe, Head, PipnetHead, fit_deep, view
from winnow.train.prototype_tree import PrototypeTree
from winnow.train.tesnet import Tesnet

BATCH = 128
HEADS: dict[str, Head] = {"components": "cbc", "pipnet": "pipnet"}
RATE = 3e-3  # of what prototypes are compared with, as in the networks beside


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
    """Prototypes of another kind on the last map of a prototype network's trunk; input as `AfterFront`."""

    def __init__(self, trunk: ProtoPNet, head: DeepCBC | Tesnet | PrototypeTree) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def maps(self, middle: Tensor) -> Tensor:
        """float32[n, J, h, w]: how much each prototype is seen at each place."""
        return self.head.maps(self.trunk.blocks_after(middle))

    @torch.no_grad()
    def class_of(self) -> Tensor:
        """int64[J]: of a component, the class for which its presence speaks most, the first of equals."""
        if not isinstance(self.head, DeepCBC):
            return self.head.class_of()
        head = self.head.head
        if isinstance(head, PipnetHead):
            return head.weight.relu().argmax(dim=1)
        plus, minus = head.probabilities()
        return head.class_of[(plus - minus).argmax(dim=1)]

    def forward(self, middle: Tensor) -> Tensor:
        """Scores [n, classes]."""
        scores: Tensor = self.head(self.trunk.blocks_after(middle))
        return scores


def front_of(network: ProtoPNet) -> Callable[[Tensor], Tensor]:
    """The layers that stay as they are: images -> float32[n, c, h, w]."""
    return lambda x: torch.cat([network.front(batch)[1] for batch in x.split(BATCH)])


@torch.no_grad()
def shared_fronts(networks: Sequence[ProtoPNet], *images: Tensor) -> list[Tensor]:
    """What the layers that stay as they are put out on sets of images, for all networks: float32[n, c, h, w] each.

    Raises InputError for networks whose first layers differ.
    """
    states = [{k: v for k, v in network.state_dict().items() if _in_front(k)} for network in networks]
    for i, state in enumerate(states):
        if any(not torch.equal(value, state[name]) for name, value in states[0].items()):
            raise InputError(f"network {i} has other first layers than network 0; judge them one by one")
    return [front_of(networks[0])(x) for x in images]


def _in_front(name: str) -> bool:
    block = name.split(".")[1] if name.startswith("blocks.") else ""
    return name.startswith(("stem.", "input_")) or (block.isdigit() and int(block) < FROZEN)


@torch.no_grad()
def _last_maps(trunk: ProtoPNet, middle: Tensor) -> tuple[Tensor, Tensor]:
    """The trunk's last maps, and the standard deviation of each of their channels."""
    features = torch.cat([trunk.blocks_after(batch) for batch in middle.split(BATCH)])
    return features, features.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)


def fit_on_trunk(
    trunk: ProtoPNet, middle: Tensor, labels: Tensor, head: Head, recipe: DeepRecipe, seed: int
) -> OnTrunk:
    """As many components as the network has prototypes, with a head, on the trunk as it is.

    middle: of the training images, `shared_fronts`. The views that the authors make of images are made of the trunk's
    last maps, with noise in units of each channel's standard deviation.
    """
    features, deviation = _last_maps(trunk, middle)
    model = DeepCBC(nn.Identity(), features.shape[1], len(trunk.class_of()), trunk.classes, head, seed)
    fit_deep(model, features / deviation, labels, recipe, seed)
    with torch.no_grad():
        model.detector.weight.div_(deviation)
    return OnTrunk(trunk, model.eval())


class _Features(AttackedExamples):
    """Two views of each map as a workload that `fit` trains a head on, by the head's own loss."""

    def __init__(self, x: Tensor, y: Tensor, head: Tesnet | PrototypeTree, recipe: DeepRecipe) -> None:
        super().__init__(x, y)
        self.head, self.recipe = head, recipe

    def batches(
        self, split: str, size: int, seed: int | None = None, epoch: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if isinstance(self.head, PrototypeTree):
            self.head.begin_epoch(-(-len(self.y) // size))
        generator = torch_generator(seed or 0, "views of maps", str(epoch))
        for x, y in super().batches(split, size, seed, epoch):
            both = [view(x, self.recipe.shift, self.recipe.noise, generator) for _ in range(2)]
            yield torch.cat(both), torch.cat([y, y])

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], label_smoothing: float = 0.0) -> Tensor:
        return self.head.loss(*batch)


def fit_head(
    trunk: ProtoPNet, middle: Tensor, labels: Tensor, head: Tesnet | PrototypeTree, recipe: DeepRecipe, seed: int
) -> OnTrunk:
    """A head with a loss of its own on the trunk as it is, trained for all of the recipe's passes on the same views."""
    features, deviation = _last_maps(trunk, middle)
    fit(
        head,
        _Features(features / deviation, labels, head, recipe),
        epochs=recipe.warm_epochs + recipe.epochs + recipe.head_epochs,
        optimizer=lambda parameters: torch.optim.Adam(parameters, RATE),
        batch_size=recipe.batch,
        seed=seed,
    )
    with torch.no_grad():
        head.add_on[0].weight.div_(deviation)  # type: ignore[operator]
    return OnTrunk(trunk, head.eval())


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
    size = first.prototypes.shape[1]
    bases = Tesnet(TRUNK_CHANNELS, first.classes, first.per_class, size, seed)
    tree = PrototypeTree(TRUNK_CHANNELS, first.classes, round(log2(len(first.prototypes))), size, seed)
    arms["tesnet"] = ("tesnet", fit_head(first, middle, labels, bases, recipe, seed))
    arms["prototype tree"] = ("prototype_tree", fit_head(first, middle, labels, tree, recipe, seed))
    arms["random prototypes"] = ("random_prototypes", AfterFront(with_random_prototypes(first, seed)))
    arms["image centre"] = ("centre", AfterFront(first))
    return arms
