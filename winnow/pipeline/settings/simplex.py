"""Settings of stationary representations and of their compatibility."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from winnow.pipeline.settings.base import System

Counts = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]


class Simplex(System):
    """Models fine-tuned over tasks of new classes, on a fixed simplex and on trained classifiers."""

    method: Literal["simplex"]
    """How it is trained."""
    channels: int = Field(16, ge=1)
    """Maps of the first convolution of the backbone, the small_cnn without its output layer."""
    hidden: int = Field(64, ge=1)
    """Units of its hidden layer."""
    vertices: int = Field(1024, ge=3)
    """Pre-allocated classes of the simplex (K), more than will ever be seen."""
    tasks: Counts = [3, 1, 1, 1, 1]
    """New classes of each task; the classes left over are never trained on. Their order is drawn by seed."""
    replace_at: Counts = [3, 5]
    """Tasks, counted from 1, before which a model trained elsewhere takes over."""
    replace_classes: Counts = [6, 7]
    """How many of the classes, in their order, each of those models was trained on."""
    old_classes: int = Field(5, ge=1)
    """Classes of the old one of two independent models; the new one knows those of all tasks."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum .9 as the authors fine-tune; AdamW for backbones that start from nothing."""
    epochs: int = Field(70, ge=1)
    """Passes over each task and the memory."""
    batch_size: int = Field(128, ge=1)
    """Images a step, drawn class by class alike."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate; it falls as a cosine to a hundredth."""
    weight_decay: float = Field(5e-4, ge=0)
    """Weight decay; biases and norms have none."""
    memory: int = Field(20, ge=1)
    """Images of each class that are kept for rehearsal."""
    weight: float = Field(0.1, gt=0, le=1)
    """Weight of the cross-entropy beside a loss that looks at the previous model (lambda)."""
    scale: float = Field(10.0, gt=0)
    """Inverse temperature of the compatibility loss (m)."""
    mask: Literal["exclude", "zero"] = "exclude"
    """Images of the own class in the compatibility loss: left out as in the equation, or 1 each as in the code."""

    @model_validator(mode="after")
    def _fits_together(self) -> Simplex:
        seen = sum(self.tasks)
        if self.vertices <= seen:
            raise ValueError(f"vertices is {self.vertices}; it must exceed the {seen} classes of the tasks")
        if len(self.replace_at) != len(self.replace_classes):
            raise ValueError("replace_at and replace_classes differ in length; give one number of classes a task")
        if max(self.replace_at) > len(self.tasks):
            raise ValueError(f"replace_at names task {max(self.replace_at)}; there are {len(self.tasks)}")
        if max(self.replace_classes) > seen or self.old_classes > seen:
            raise ValueError(f"replace_classes and old_classes must be at most the {seen} classes of the tasks")
        return self


class Compatibility(System):
    """Galleries of old models searched with queries of new ones."""

    pictures = ("compatibility", "matrices", "stationary")
    model: str = "simplex"
    """Train variant whose models are compared."""
