import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from winnow.architectures import OF_IMAGES
from winnow.compress._masking import prunable_weights
from winnow.compress._measure import CsrLinear, file_bytes, flops, latency, nonzero, summary, with_csr
from winnow.models import build, save_model

IMAGE = {"in_channels": 3, "height": 17, "width": 20, "classes": 4}


def example(n=1):
    return torch.randn(n, 3, 17, 20, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "name", sorted(OF_IMAGES.keys() - {"protopnet"})
)  # it compares with prototypes beside its layers
@pytest.mark.parametrize("n", [1, 3])
def test_flops_of_a_dense_model_are_those_that_torch_counts(name, n):
    model = build(name, **IMAGE).train()
    with FlopCounterMode(display=False) as counter:
        model.eval()(example())
    model.train()
    assert flops(model, {}, example(n)) == {
        "dense": counter.get_total_flops(),
        "sparse": counter.get_total_flops(),
        "ratio": 1.0,
    }
    assert model.training and not any(m._forward_hooks for m in model.modules())


def test_sparse_flops_count_kept_weights_times_positions():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(168, 5))
    masks = {name: torch.zeros_like(w, dtype=torch.bool) for name, w in prunable_weights(model).items()}
    masks["0.weight"].view(-1)[:7] = True
    masks["1.weight"].view(-1)[:5] = True
    # Maps are 8 x 9, then 6 x 7; the last layer has no mask here and counts whole.
    del masks["3.weight"]
    cost = flops(model, masks, example())
    assert cost["sparse"] == 2 * (7 * 8 * 9 + 5 * 6 * 7 + 168 * 5)
    assert cost["dense"] == 2 * (108 * 8 * 9 + 36 * 6 * 7 + 168 * 5)
    assert cost["ratio"] == cost["sparse"] / cost["dense"]


def test_a_recurrent_layer_counts_once_per_step():
    model = build("fastgrnn", **IMAGE)
    masks = {"cell.state_up.weight": torch.arange(64 * 32).view(64, 32) < 10}
    cost = flops(model, masks, example())
    assert cost["dense"] - cost["sparse"] == 2 * (64 * 32 - 10) * 17


def test_counting_leaves_batch_norm_alone():
    model = build("residual", **IMAGE).train()
    before = model.norm.running_mean.clone()
    flops(model, {}, example())
    assert torch.equal(model.norm.running_mean, before)


def test_the_summary_says_what_is_left_and_whether_a_layer_is_gone():
    model = build("mlp", hidden=[6, 5], **IMAGE)
    masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in prunable_weights(model).items()}
    masks["linear2.weight"].fill_(False)[0, :3] = True
    total = 1020 * 6 + 3 + 5 * 4
    assert nonzero(masks) == {"linear1.weight": 6120, "linear2.weight": 3, "output.weight": 20}
    assert summary(model, masks, example()) == {
        "flops": 2.0 * total,
        "flops_ratio": total / (6120 + 30 + 20),
        "nonzero": total,
        "min_layer_nonzero": 3,
        "collapse": 0.0,
    }
    masks["linear2.weight"].fill_(False)
    gone = summary(model, masks, example())
    assert gone["collapse"] == 1.0 and gone["min_layer_nonzero"] == 0


@pytest.mark.parametrize("name", sorted(OF_IMAGES))
@torch.no_grad()
def test_sparse_rows_hold_the_weights_of_linear_layers_and_compute_the_same(name):
    model = build(name, **IMAGE).train()
    for weight in prunable_weights(model).values():
        weight.data *= torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    sparse = with_csr(model)
    assert model.training and not sparse.training
    for path, layer in model.named_modules():
        found = sparse.get_submodule(path)
        if isinstance(layer, nn.Linear):
            assert isinstance(found, CsrLinear) and found.weight.values().numel() == layer.weight.count_nonzero()
        else:
            assert type(found) is type(layer)
    expected = model.eval()(example(5))
    assert (sparse(example(5)) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert latency(sparse, example(2), repeats=3) > 0


def test_bytes_are_those_of_both_files(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(build("mlp", **IMAGE), path, "digits")
    assert file_bytes(path) == sum(len(p.read_bytes()) for p in tmp_path.iterdir())
    assert file_bytes(str(path)) > 4 * (1020 * 300 + 300 * 100 + 400)


class Scripted(nn.Module):
    """A model whose passes take given times on a clock of its own [s]."""

    def __init__(self, durations, monkeypatch):
        super().__init__()
        self.durations, self.now = iter(durations), 0.0
        monkeypatch.setattr("winnow.compress._measure.time.perf_counter", lambda: self.now)

    def forward(self, x):
        assert not self.training and torch.is_inference_mode_enabled()
        self.now += next(self.durations)
        return x


def test_latency_is_the_median_in_milliseconds_after_three_passes_that_warm_up(monkeypatch):
    model = Scripted([5.0, 6.0, 7.0, 0.016, 0.001, 0.004, 0.002, 0.008], monkeypatch).train()
    assert latency(model, example(), repeats=5) == pytest.approx(4.0)
    assert next(model.durations, None) is None


def test_latency_is_over_thirty_passes_where_nothing_else_is_asked(monkeypatch):
    model = Scripted([0.001] * 50, monkeypatch)
    assert latency(model, example()) == pytest.approx(1.0)
    assert len(list(model.durations)) == 50 - 33


@pytest.mark.parametrize(("seconds", "repeats", "timed"), [(1.0, 30, 9), (0.125, 30, 16), (1.0, 5, 5)])
def test_latency_of_slow_passes_is_over_two_seconds_of_them_and_nine_at_least(seconds, repeats, timed, monkeypatch):
    model = Scripted([seconds] * 50, monkeypatch)
    assert latency(model, example(), repeats=repeats) == pytest.approx(1000 * seconds)
    assert 50 - len(list(model.durations)) == 3 + timed
