"""Settings of two audits of input gradients: remove and retrain, and leakage between blocks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from winnow.pipeline.settings.base import System, _distinct

Kept = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1), AfterValidator(_distinct)]
Radii = Annotated[list[Annotated[float, Field(gt=0)]], AfterValidator(_distinct)]
Scheme = Literal[
    "logit_gradient", "loss_gradient", "gradient_times_input", "smooth_grad", "integrated_gradients", "random"
]
BlockVariant = Literal["random", "top", "three_blocks", "ten_classes"]


class AdversariallyTrained(System):
    """Models of one recipe, trained plainly and on adversarial examples; pixels are in [0, 1]."""

    eps_l2: Radii = []
    """Radii of the l2 attacks that models are trained against."""
    eps_linf: Radii = []
    """Radii of the linf attacks that models are trained against."""
    attack_steps: int = Field(8, ge=1)
    """Steps of an attack, each of a quarter of its radius."""
    images: int = Field(1000, ge=10)
    """Images of each split that are used at most, the first by key."""
    hidden: list[Annotated[int, Field(ge=1)]] = [256]
    """Widths of the multilayer perceptron's hidden layers."""
    epochs: int = Field(30, ge=1)
    """Passes over the images, of every model."""
    batch_size: int = Field(128, ge=1)
    """Images a step."""
    learning_rate: float = Field(0.1, gt=0)
    """Rate of SGD with momentum .9."""


class Diffroar(AdversariallyTrained):
    """Accuracy of models retrained on the pixels that an attribution ranks first, less those that it ranks last."""

    pictures = ("diffroar", "schemes")
    eps_l2: Radii = [1.0]
    """Radii of the l2 attacks that models are trained against."""
    hidden: list[Annotated[int, Field(ge=1)]] = [128, 128]
    """Widths of the multilayer perceptron's hidden layers."""
    fractions: Kept = [0.05, 0.1, 0.2, 0.5]
    """Shares of the pixels kept, for the gradient of the logit and for the random control."""
    other_fractions: Kept = [0.1]
    """Shares of the pixels kept, for the other schemes."""
    schemes: Annotated[list[Scheme], AfterValidator(_distinct)] = [
        "loss_gradient",
        "gradient_times_input",
        "smooth_grad",
        "integrated_gradients",
    ]
    """Attribution schemes beside the gradient of the logit."""
    retrainings: int = Field(5, ge=1)
    """Models trained anew on each masked set, each from its own seed."""
    steps: int = Field(20, ge=1)
    """Steps of integrated gradients."""
    samples: int = Field(20, ge=1)
    """Noisy copies of SmoothGrad."""


class GradientLeakage(AdversariallyTrained):
    """Gradients on images of which one block tells the class, and on the toy of the theory."""

    pictures = ("leakage", "maps", "toy")
    eps_l2: Radii = [2.0, 4.0]
    """Radii of the l2 attacks that models are trained against."""
    classes: Annotated[list[int], Field(min_length=2, max_length=2), AfterValidator(_distinct)] = [0, 1]
    """The two classes of the images, but for ten_classes, which takes all."""
    variants: Annotated[list[BlockVariant], AfterValidator(_distinct)] = ["top", "three_blocks", "ten_classes"]
    """Sets of images beside the random order of two blocks, for the plainly trained model."""
    top: float = Field(0.05, gt=0, le=1)
    """Share of the pixels with the largest gradients that are looked at."""
    toy_width: int = Field(2000, ge=2)
    """Units of the toy's one hidden layer."""
    toy_steps: int = Field(900, ge=3)
    """Steps of gradient descent on the toy, at most."""
    toy_eps: float = Field(0.45, gt=0, lt=0.5)
    """Radius of the linf attack on the toy, whose classes are 1 apart in each coordinate."""
