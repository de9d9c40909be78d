"""Small models and objectives for tests of rerouting."""

from dataclasses import dataclass

import torch

from winnow.models.hooked_transformer import HookedTransformer
from winnow.workloads.refusal_prompts import QUESTION, Questions


def random_model(vocabulary=30, layers=3, seed=0):
    """A model of random weights, large enough that tokens tell."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HookedTransformer(vocabulary, 16, width=16, layers=layers, heads=2)
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class ToObjective:
    """Squared distance of the last position's stream from ones."""

    depth: int

    @property
    def reads(self):
        return (f"blocks.{self.depth - 1}.hook_resid_post",)

    def loss(self, saved, stream):
        return (saved[self.reads[0]][:, -1] - 1).square().mean(-1)


def random_questions(count, vocabulary=30, seed=0):
    """Questions of one to five words, every second one marked."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (count,), generator=generator).tolist()
    rows = [
        torch.cat([torch.tensor([QUESTION]), torch.randint(6, vocabulary, (n,), generator=generator)]) for n in lengths
    ]
    return Questions(rows, torch.arange(count) % 2 == 0)
