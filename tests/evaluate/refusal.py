"""Small models, an easy rule of questions and objectives for tests of rerouting."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch

from winnow.evaluate.rerouting_attacks import scene
from winnow.evaluate.subspace_rerouting import SearchConfig
from winnow.models.hooked_transformer import HookedTransformer
from winnow.train.refusal_model import tune
from winnow.workloads.refusal_prompts import QUESTION, SPECIAL, Questions, balanced_batches

CONFIG = SearchConfig(width=12, topk=8, buffer=3, iterations=3, banned=tuple(range(len(SPECIAL))))
SETTINGS = SimpleNamespace(
    shift=0.5, defended=2, few=5, slots=[2, 3], prompts=6, rounds=1, tuning_steps=2, tuning_rate=1e-3, batch_size=8,
    draws=2, penalty=1.0,
)  # fmt: skip


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
    last: bool = True

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


def easy(count, seed):
    """Marked where the first word is even; the second says nothing."""
    words = torch.randint(6, 30, (count, 2), generator=torch.Generator().manual_seed(seed))
    return Questions([torch.tensor([1, *row]) for row in words.tolist()], words[:, 0] % 2 == 0)


def easy_questions():
    """Split -> questions of the easy rule."""
    return {split: easy(count, i) for i, (split, count) in enumerate((("train", 200), ("valid", 60), ("test", 60)))}


def easy_scene(asked):
    """A small model that learned the easy rule."""
    model = random_model().requires_grad_(True)
    tune(model, balanced_batches(asked["train"], 16, 120, seed=0), 120, 1e-2)
    return scene(model, asked, 6, seed=0)
