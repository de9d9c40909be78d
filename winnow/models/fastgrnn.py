"""FastGRNN, a gated recurrent net with low-rank weights (Kusupati et al., NeurIPS 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FastGRNNCell(nn.Module):
    """A sequence [n, t, inputs] -> its states [n, t, hidden], starting from a zero state.

    W = W2 W1 and U = U2 U1 are kept as factors. Gate and candidate share both: hence a small cell.
    """

    def __init__(self, inputs: int, hidden: int, input_rank: int, state_rank: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input_down = nn.Linear(inputs, input_rank, bias=False)  # W1
        self.input_up = nn.Linear(input_rank, hidden, bias=False)  # W2
        self.state_down = nn.Linear(hidden, state_rank, bias=False)  # U1
        self.state_up = nn.Linear(state_rank, hidden, bias=False)  # U2
        self.gate_bias = nn.Parameter(torch.ones(hidden))  # b_z
        self.candidate_bias = nn.Parameter(torch.ones(hidden))  # b_h
        # Squashed to (0, 1) as in the authors' code; the starting values are theirs, too.
        self.zeta = nn.Parameter(torch.tensor(1.0))
        self.nu = nn.Parameter(torch.tensor(-4.0))

    def forward(self, sequence: Tensor) -> Tensor:
        driven = self.input_up(self.input_down(sequence))  # Wx of all steps at once
        zeta, nu = torch.sigmoid(self.zeta), torch.sigmoid(self.nu)
        state = sequence.new_zeros(len(sequence), self.hidden)
        states = []
        for drive in driven.unbind(dim=1):
            total = drive + self.state_up(self.state_down(state))  # Wx + Uh
            gate = torch.sigmoid(total + self.gate_bias)
            candidate = torch.tanh(total + self.candidate_bias)
            state = (zeta * (1 - gate) + nu) * candidate + gate * state
            states.append(state)
        return torch.stack(states, dim=1)


class FastGRNN(nn.Module):
    """Images [n, c, h, w], read row by row from the top -> logits [n, classes] from the last state."""

    def __init__(
        self,
        in_channels: int,
        height: int,
        width: int,
        classes: int,
        hidden: int = 64,
        input_rank: int = 16,
        state_rank: int = 32,
    ) -> None:
        super().__init__()
        self.cell = FastGRNNCell(in_channels * width, hidden, input_rank, state_rank)
        self.output = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.transpose(1, 2).flatten(2)  # [n, h, c * w]
        logits: Tensor = self.output(self.cell(rows)[:, -1])
        return logits

    def hook_points(self) -> list[str]:
        """The states of all steps."""
        return ["cell"]
