"""Settings of training."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from winnow.pipeline.settings.base import Part, Seeds
from winnow.pipeline.settings.protopnet import Protopnet
from winnow.pipeline.settings.rbf_components import RbfComponents, RbfComponentsTable
from winnow.pipeline.settings.simplex import Simplex
from winnow.pipeline.settings.tell import TellSettings
from winnow.pipeline.settings.transfer import Transfer

ImageModel = Literal["mlp", "small_cnn", "residual", "depthwise_cnn", "fastgrnn", "efficientnet_lite0"]
TableModel = Literal["table_mlp", "table_linear"]
TextModel = Literal[
    "transformer", "multi_query_transformer", "hooked_transformer", "positional_transformer", "moe_x_transformer"
]

# Stands here as well as in the registry, which imports torch: params.yaml is checked before every command.
ARGUMENTS = {
    "mlp": ("hidden",),
    "small_cnn": ("channels", "hidden"),
    "residual": ("channels",),
    "depthwise_cnn": ("channels",),
    "fastgrnn": ("hidden", "input_rank", "state_rank"),
    "efficientnet_lite0": (),
    "table_mlp": ("hidden", "activation"),
    "table_linear": (),
    "transformer": ("width", "layers", "heads", "hidden"),
    "multi_query_transformer": ("width", "layers", "heads", "hidden"),
    "positional_transformer": ("width", "layers", "heads", "hidden", "position", "strength", "learned"),
    "moe_x_transformer": ("width", "layers", "heads", "experts", "k", "hidden", "router", "activation"),
    "sasrec": ("d", "blocks", "heads", "dropout"),
    "gru4rec": ("d", "hidden", "dropout"),
    "hooked_transformer": ("context", "width", "layers", "heads", "hidden", "activation", "normalization", "tied"),
}


def check_arguments(model: str, arguments: dict[str, Any]) -> None:
    """Raise ValueError for an argument that the constructor of a model does not have."""
    known = ARGUMENTS[model]
    for name in arguments:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            remedy = f"did you mean {near[0]}?" if near else f"{model} takes {', '.join(known) or 'none'}"
            raise ValueError(f"arguments.{name}: unknown setting; {remedy}")


class Train(Part):
    """One model trained with AdamW: linear warm-up, then a cosine to zero (Loshchilov and Hutter, ICLR 2019)."""

    method: Literal["adamw"] = Field("adamw", exclude=True)
    """How it is trained; each method has settings of its own."""
    model: ImageModel = "mlp"
    """Name in the model registry."""
    arguments: dict[str, int | float | bool | str | list[int]] = {}
    """Constructor arguments of the model, over its defaults."""
    epochs: int = Field(10, ge=1)
    """Passes over the training split."""
    batch_size: int = Field(128, ge=1)
    """Images a step."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(1e-2, ge=0)
    """Decoupled weight decay."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of each label spread over all classes."""
    optional: bool = False
    """Left out of the default target and of what measures all models; made where another section names it."""
    seeds: Seeds | None = None
    """Seeds of this variant; null takes the workload's."""

    @model_validator(mode="after")
    def _arguments_exist(self) -> Train:
        check_arguments(self.model, self.arguments)
        return self


class TrainTable(Train):
    """One model of a table trained with AdamW."""

    model: TableModel = "table_mlp"  # type: ignore[assignment]
    """Name in the model registry."""
    epochs: int = Field(60, ge=1)
    """Passes over the training split."""
    batch_size: int = Field(64, ge=1)
    """Rows a step."""


class TrainText(Train):
    """One language model trained with AdamW."""

    model: TextModel = "transformer"  # type: ignore[assignment]
    """Name in the model registry."""
    epochs: int = Field(1, ge=1)
    """Passes over the training split."""
    batch_size: int = Field(4, ge=1)
    """Windows a step."""
    learning_rate: float = Field(6e-3, gt=0)
    """Peak learning rate."""


def method_of(section: Any) -> str:
    """The method that a section of the train family names, adamw where it names none."""
    return str(section.get("method", "adamw") if isinstance(section, dict) else section.method)


Trained = Annotated[
    Annotated[Train, Tag("adamw")]
    | Annotated[Simplex, Tag("simplex")]
    | Annotated[TellSettings, Tag("tell")]
    | Annotated[Protopnet, Tag("protopnet")]
    | Annotated[Transfer, Tag("transfer")]
    | Annotated[RbfComponents, Tag("rbf_components")],
    Discriminator(method_of),
]
"""A section of the train family: the settings of its method."""
TrainedTable = Annotated[
    Annotated[TrainTable, Tag("adamw")]
    | Annotated[TellSettings, Tag("tell")]
    | Annotated[RbfComponentsTable, Tag("rbf_components")],
    Discriminator(method_of),
]
"""A section of the train family of a table."""
