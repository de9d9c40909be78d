"""A model of bytes of which everything is known, for the tests of what trains and judges such models."""

import torch


class Countdown(torch.nn.Module):
    """Foretells one more than the latest symbol, with a certainty that grows with the context; keeps inputs."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        self.seen.append(x)
        return self.scale * torch.nn.functional.one_hot((x + 1) % 256, 256).float() * x.shape[1]
