"""A small model on the task of who got something, for tests of what is judged on it."""

import torch

from winnow.evaluate.supervised_task import giving_task
from winnow.evaluate.task_scene import Scene, scene_of
from winnow.models import build
from winnow.workloads.names_language import vocabulary


def giving_scene() -> Scene:
    """All heads of an untrained model at the last position, as dictionaries are judged on them."""
    model = build("hooked_transformer", vocabulary=len(vocabulary()), context=32, width=16, layers=2, heads=2)
    with torch.no_grad():  # a new model hardly moves its logits
        for block in model.blocks:
            block.attn.output.weight.mul_(8)
    return scene_of(model, giving_task("train", 2000, 0), giving_task("test", 60, 0), 0.0)
