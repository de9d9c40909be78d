"""Every way to score can prune weights, and those that can prune filters and channels by the same shares."""

import pytest
import torch

from winnow.compress import GROUPED, METHODS, compress, masks_for
from winnow.compress._masking import prunable_weights
from winnow.compress._slimming import slim
from winnow.compress._structure import structure_of
from winnow.compress.relevance import criterion_scores
from winnow.errors import InputError
from winnow.models import build

IMAGE = {"in_channels": 1, "height": 9, "width": 8, "classes": 3}
SMALL = {"small_cnn": {"channels": 4, "hidden": 8}, "depthwise_cnn": {"channels": [4, 6, 8]}}


def net(name):
    return build(name, **IMAGE, **SMALL[name], seed=1)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("method", sorted(GROUPED))
@pytest.mark.parametrize("group", ["filter", "channel"])
def test_groups_go_whole_and_slimming_removes_them(name, method, group, blobs):
    model = net(name)
    settings = {"sparsity": 0.5, "seed": 0, "epochs": 1, "lr": 0.02, "group": group, "batch_size": 30}
    pruned, masks, history = compress(method, model, blobs, **settings)
    assert list(masks) == list(prunable_weights(model))
    for layer, size in structure_of(model, group).sizes.items():
        rows = masks[layer] if group == "filter" else masks[layer].transpose(0, 1)
        rows = rows.reshape(size, -1)
        assert torch.equal(rows.any(1), rows.all(1)) and int(rows.all(1).sum()) == size // 2
        assert (pruned.get_parameter(layer)[~masks[layer]] == 0).all()
    x = blobs.example_inputs(4)
    small = slim(pruned, None, x)
    assert torch.allclose(small(x), pruned(x), atol=1e-5)
    dense = sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in small.parameters()) < 0.62 * dense
    dropped = sum(int((~m).sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
    assert history[0] == ("sparsity", pytest.approx(dropped), 0)


@pytest.mark.parametrize("group", ["filter", "channel"])
def test_groups_may_go_gradually(group, blobs):
    settings = {"sparsity": 0.5, "seed": 0, "epochs": 2, "lr": 0.02, "group": group, "batch_size": 15}
    _, masks, history = compress("global_magnitude", net("small_cnn"), blobs, gradual_steps=2, **settings)
    rises = [value for metric, value, _ in history if metric == "sparsity"]
    assert rises[0] == 0 and rises == sorted(rises) and len(rises) == 3
    for layer, size in structure_of(net("small_cnn"), group).sizes.items():
        rows = masks[layer] if group == "filter" else masks[layer].transpose(0, 1)
        assert int(rows.reshape(size, -1).all(1).sum()) == size // 2


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.95])
def test_relevance_keeps_the_weights_most_of_the_true_class_flows_through(name, sparsity, blobs):
    model = net(name)
    masks = masks_for("relevance", model, blobs, sparsity, seed=0)
    x, y = next(iter(blobs.batches("train", 512, 0)))
    scores = criterion_scores(model, x, y, "relevance", "weight")
    kept = torch.cat([scores[n][m] for n, m in masks.items()])
    gone = torch.cat([scores[n][~m] for n, m in masks.items()])
    assert len(kept) == round((1 - sparsity) * (len(kept) + len(gone)))
    assert not len(gone) or kept.min() >= gone.max()
    within = masks_for("random", model, blobs, 0.5, seed=3)
    nested = masks_for("relevance", model, blobs, 0.8, seed=0, within=within)
    assert all((nested[n] <= within[n]).all() for n in nested)


@pytest.mark.parametrize("method", sorted(METHODS.keys() - GROUPED.keys()))
def test_methods_that_choose_shares_of_layers_have_no_groups(method, blobs):
    with pytest.raises(InputError, match=f"group: {method} chooses the share of each layer"):
        masks_for(method, net("small_cnn"), blobs, 0.5, seed=0, group="filter")


def test_bad_settings_are_told_in_one_line(blobs):
    model = net("small_cnn")
    with pytest.raises(InputError, match="snip sets a minimum of weights, .* group 'channel'"):
        masks_for("snip", model, blobs, 0.5, seed=0, group="channel", min_keep_share=0.01)
    with pytest.raises(InputError, match="unknown name 'bilevl'; did you mean bilevel"):
        compress("bilevl", model, blobs, sparsity=0.5, seed=0, epochs=1, lr=0.1)
    with pytest.raises(InputError, match="FastGRNN: cannot be written as a graph"):
        masks_for("relevance", build("fastgrnn", **IMAGE), blobs, 0.5, seed=0)
