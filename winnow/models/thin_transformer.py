"""A transformer some of whose attention and feed-forward layers are gone, as depth pruning leaves it."""

from __future__ import annotations

from torch import Tensor, nn

from winnow.models.transformer import Transformer


class ThinBlock(nn.Module):
    """The layers of a block that are left; norms go with their layers."""

    def __init__(self, block: nn.Module, parts: list[str]) -> None:
        super().__init__()
        self.parts = parts
        for part in parts:
            setattr(self, f"{part}_norm", getattr(block, f"{part}_norm"))
            setattr(self, part, getattr(block, part))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = x + getattr(self, part)(getattr(self, f"{part}_norm")(x))
        return x


class ThinTransformer(Transformer):
    """A `Transformer` with attention in the blocks `attention` and feed-forward layers in the blocks `mlp` alone.

    Blocks and parameters keep their names. Raises ValueError for a block that the whole model has not.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 0,
        attention: tuple[int, ...] = (),
        mlp: tuple[int, ...] = (),
    ) -> None:
        super().__init__(vocabulary, width, layers, heads, hidden)
        kept = {"attention": set(attention), "mlp": set(mlp)}
        for part, blocks in kept.items():
            if not blocks <= set(range(layers)):
                raise ValueError(f"{part} is {sorted(blocks)}; the model has the blocks 0 to {layers - 1}")
        self.blocks = nn.ModuleList(
            ThinBlock(block, [part for part in kept if index in kept[part]]) for index, block in enumerate(self.blocks)
        )

    def hook_points(self) -> list[str]:
        """What each feed-forward layer that is left adds, and the residual stream after each block."""
        points = super().hook_points()
        modules = dict(self.named_modules())
        return [point for point in points if point in modules]
