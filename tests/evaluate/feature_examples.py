"""Models and dictionaries whose features are known, for tests of the browser of features."""

import json
import re

import numpy as np
import torch
from torch import nn

from winnow.dictionaries.dictionary import Dictionary
from winnow.evaluate.feature_browser import (
    Examples,
    feature_table,
    fired,
)
from winnow.workloads.image_tables import encode_png


def axes(d=4, extra=1):
    """A dictionary whose first features are the axes of the activations, and whose last ones never fire."""
    directions = torch.cat([torch.eye(d), torch.eye(d)[:extra]])
    zero = torch.zeros(d)
    bias = torch.cat([torch.zeros(d), torch.full((extra,), -100.0)])
    return Dictionary(
        directions.T.contiguous(), bias, directions, zero, zero, torch.zeros(d + extra), "relu_l1", "jumprelu"
    )


class Passing(nn.Module):
    """What goes in is the hook point, and comes out as logits."""

    def __init__(self):
        super().__init__()
        self.hook = nn.Identity()

    def forward(self, x):
        return self.hook(x)


def rows_of(x):
    counted = torch.ones(len(x), 1, dtype=torch.bool)
    return Examples(x, counted, list("abcd"), lambda i: encode_png(np.full((3, 3, 1), i, np.uint8)))


ROWS = torch.tensor([[3.0, 0, 0, 1], [0, 5, 0, 1], [1, 0, 0, 1], [2, 0, 0, 1]])


def table_of(x, top=3):
    dictionary, model, examples = axes(), Passing(), rows_of(x)
    where = fired(dictionary, model, examples, "hook")
    return feature_table(dictionary, model, examples, "hook", where, top), where, examples


def content(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
