"""A decoder-only transformer: RMSNorm before each block, rotary positions, SwiGLU, tied embeddings.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017; Su et al., "RoFormer: Enhanced Transformer with Rotary
Position Embedding", Neurocomputing, 2024; Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019;
Shazeer, "GLU Variants Improve Transformer", 2020; put together as in Touvron et al., "LLaMA: Open and Efficient
Foundation Language Models", 2023.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from winnow.models.rotary import rotated


class Attention(nn.Module):
    """Causal self-attention of several heads, without biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        mixed = scaled_dot_product_attention(rotated(query), rotated(key), value, is_causal=True)
        return self.output(mixed.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    """SwiGLU: a gated layer of width `hidden`, and back."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Attention, then feed-forward, each added to the residual stream."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.RMSNorm(width, eps=1e-6), Attention(width, heads)
        self.mlp_norm, self.mlp = nn.RMSNorm(width, eps=1e-6), FeedForward(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Transformer(nn.Module):
    """Tokens int64[n, t] -> logits float32[n, t, vocabulary] of the token that follows each.

    hidden: width of the feed-forward layers; 0 is 8 / 3 of the width, rounded up to a multiple of 8.
    """

    def __init__(self, vocabulary: int, width: int = 64, layers: int = 2, heads: int = 4, hidden: int = 0) -> None:
        if width % (2 * heads):
            raise ValueError(f"width {width} is no multiple of twice the {heads} heads")
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        hidden = hidden or -(-8 * width // 3 // 8) * 8
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        initialise(self, width)
        for name, weight in self.named_parameters():
            if name.endswith(("attention.output.weight", "mlp.down.weight")):
                nn.init.normal_(weight, std=first_spread(width, layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        for block in self.blocks:
            x = block(x)
        return self.logits(self.norm(x))

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores [..., vocabulary] of the next token from last hidden states [..., width]."""
        return linear(hidden, self.embedding.weight)

    def hook_points(self) -> list[str]:
        """What each feed-forward layer adds, and the residual stream after each block."""
        return [f"blocks.{i}{part}" for i in range(len(self.blocks)) for part in (".mlp", "")]


def first_spread(width: int, layers: int = 0) -> float:
    """Standard deviation of weights before training; layers: of a model, for weights that add to its residual stream.

    Radford et al., "Language Models are Unsupervised Multitask Learners", 2019: .02 at their 768 channels, and less by
    the root of the number of layers that add up. Narrower models need more, by the root of the width: with .02, 64
    channels start so near to 0 that small models stay behind a trigram.
    """
    spread: float = 0.02 * (768 / width) ** 0.5
    return spread / (2 * layers) ** 0.5 if layers else spread


def initialise(module: nn.Module, width: int) -> None:
    """Draw the weights of all linear layers and embeddings in a module anew, with `first_spread`."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=first_spread(width))
