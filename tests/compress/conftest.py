import pytest
import torch
from torch.nn import functional

from winnow.models import build
from winnow.randomness import torch_generator


class Blobs:
    """Images of 9 x 8 pixels in three classes, each class a fixed pattern under noise."""

    classes = ("a", "b", "c")

    def __init__(self):
        generator = torch_generator(0, "blobs")
        patterns = torch.randn(3, 1, 9, 8, generator=generator)
        self.splits = {}
        for split, n in (("train", 90), ("valid", 30), ("test", 30)):
            y = torch.arange(n) % 3
            self.splits[split] = (patterns[y] + torch.randn(n, 1, 9, 8, generator=generator), y)

    def batches(self, split, size, seed=None, epoch=0):
        x, y = self.splits[split]
        order = torch.arange(len(y))
        if seed is not None:
            order = torch.randperm(len(y), generator=torch_generator(seed, "batches", str(epoch)))
        for rows in order.split(size):
            yield x[rows], y[rows]

    def loss(self, model, batch, label_smoothing=0.0):
        return functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=label_smoothing)

    def metrics(self, model, split):
        x, y = self.splits[split]
        return {"accuracy": float((model(x).argmax(1) == y).double().mean())}

    def example_inputs(self, n=1):
        return self.splits["train"][0][:n]


@pytest.fixture
def blobs():
    return Blobs()


@pytest.fixture(params=["mlp", "depthwise_cnn", "fastgrnn"])
def model(request):
    """One of each sort: feed-forward, depthwise-separable with batch norm, recurrent."""
    return build(request.param, seed=1, in_channels=1, height=9, width=8, classes=3)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
