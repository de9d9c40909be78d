"""A prototype network's logits are sums of shown evidence, its distances and trunk those of its parts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.models import build, load_model, save_model
from winnow.models.efficientnet_lite0 import EfficientNetLite0
from winnow.models.protopnet import add_on_layers, take_trunk

IMAGE = {"in_channels": 3, "height": 32, "width": 32, "classes": 3}
KINDS = [("l2log", "linear"), ("l2log", "aggregate"), ("projection", "linear"), ("projection", "aggregate")]


def network(similarity="projection", head="aggregate", seed=0, **arguments):
    return build("protopnet", seed=seed, similarity=similarity, head=head, channels=8, **IMAGE, **arguments).eval()


def images(n=4, seed=0):
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("similarity", "head"), KINDS)
def test_logits_are_sums_of_the_evidence_shown(similarity, head):
    model = network(similarity, head)
    with torch.no_grad():
        out, logits = model.outputs(images()), model(images())
    peaks = out.maps.flatten(2).max(2).values
    torch.testing.assert_close(out.scores, peaks)
    evidence = out.scores[:, None] * model.evidence_weights()
    torch.testing.assert_close(logits, evidence.sum(2), atol=1e-5, rtol=1e-5)
    assert out.maps.shape == (4, 12, 2, 2)
    assert torch.equal(model.maps(images()), out.maps)


@pytest.mark.parametrize("similarity", ["l2log", "projection"])
def test_distances_and_similarities_are_those_of_their_definition(similarity):
    model = network(similarity)
    with torch.no_grad():
        out = model.outputs(images())
        features = model.add_on(out.deep).flatten(2).mT  # [n, positions, D]
    prototypes = model.prototypes.detach()
    if similarity == "l2log":
        squared = torch.cdist(features.double(), prototypes.double()[None]).square()
        expected, similarities = squared.amin(1), torch.log((squared + 1) / (squared + 1e-4))
    else:
        unit = prototypes / prototypes.norm(dim=1, keepdim=True)
        similarities = (features @ unit.T).double()
        expected = -(features / features.norm(dim=2, keepdim=True) @ unit.T).amax(1).double()
    torch.testing.assert_close(out.distances.double(), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out.maps.flatten(2).mT.double(), similarities, atol=1e-3, rtol=1e-4)


@given(st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_aggregation_gives_each_class_as_much_weight_as_it_has_prototypes(per_class, seed):
    model = network(per_class=per_class)
    scores = torch.randn(5, 3 * per_class, generator=torch.Generator().manual_seed(seed))
    equal = scores @ model.evidence_weights().T
    torch.testing.assert_close(equal, scores.view(5, 3, per_class).sum(2))  # equal weights are a plain sum
    model.aggregation.data = torch.randn(3, per_class, generator=torch.Generator().manual_seed(seed + 1))
    weights = model.evidence_weights()
    torch.testing.assert_close(weights.sum(1), torch.full((3,), float(per_class)))
    own = model.class_of()[None] == torch.arange(3)[:, None]
    assert (weights[own] > 0).all() and (weights[~own] == 0).all()


@pytest.mark.parametrize(
    ("channels", "size", "pairs"),
    [(112, 32, [(112, 56), (56, 32)]), (112, 8, [(112, 56), (56, 28), (28, 14), (14, 8)]), (64, 32, [(64, 32)])]
    + [(16, 32, [(16, 32)]), (32, 32, [(32, 32)])],
)
def test_a_bottleneck_halves_the_channels_pair_by_pair(channels, size, pairs):
    layers = list(add_on_layers(channels, size, "bottleneck"))
    convolutions = layers[::2]
    widths = [(layer.in_channels, layer.out_channels) for layer in convolutions]
    assert widths == [width for before, after in pairs for width in ((before, after), (after, after))]
    assert [type(layer).__name__ for layer in layers[1::2]] == ["ReLU"] * (len(convolutions) - 1) + ["Sigmoid"]
    assert {layer.kernel_size for layer in convolutions} == {(1, 1)}
    assert all(float(layer.bias.detach().abs().max()) == 0 for layer in convolutions)


def test_layers_before_prototypes_keep_the_variance_of_what_is_put_in():
    torch.manual_seed(0)
    (layer, sigmoid) = add_on_layers(112, 400, "single")
    assert isinstance(sigmoid, torch.nn.Sigmoid) and (layer.in_channels, layer.out_channels) == (112, 400)
    # He et al., by the outputs: the variance of a weight is 2 over the outputs.
    assert float(layer.weight.detach().var()) == pytest.approx(2 / 400, rel=0.02)


def test_a_network_with_a_bottleneck_is_saved_with_it_and_differs(tmp_path):
    model = network(add_on="bottleneck")
    out = model.outputs(images())
    assert len(model.add_on) == 16 and out.maps.shape == (4, 12, 2, 2)  # 112, 56, 28, 14, 8
    save_model(model, tmp_path / "model.safetensors", workload="w")
    assert torch.equal(load_model(tmp_path / "model.safetensors")(images()), out.logits)


def test_a_linear_head_starts_with_own_and_other_classes():
    weights = network(head="linear").evidence_weights()
    assert weights[1].tolist() == [-0.5] * 4 + [1.0] * 4 + [-0.5] * 4


def test_prototypes_start_at_unit_length_where_similarity_is_a_projection():
    assert torch.allclose(network().prototypes.norm(dim=1), torch.ones(12), atol=1e-6)
    assert not torch.allclose(network("l2log").prototypes.norm(dim=1), torch.ones(12), atol=1e-2)


def test_a_prototype_that_is_switched_off_counts_for_nothing():
    model = network(head="linear")
    model.active[5] = 0
    with torch.no_grad():
        out = model.outputs(images())
    assert (out.maps[:, 5] == 0).all() and (out.scores[:, 5] == 0).all() and (out.scores[:, 4] != 0).all()


def test_the_trunk_keeps_its_statistics_while_the_rest_trains():
    model = network().train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(images())
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert model.training and model.add_on.training and not model.blocks[7].training and not model.stem.training


def test_the_published_weights_see_pixels_as_they_expect_them():
    torch.manual_seed(1)
    source = EfficientNetLite0(3, 32, 32, 10).eval()
    for norm in (m for m in source.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    pixels = torch.randint(0, 256, (2, 3, 32, 32)).float()
    mean, deviation = torch.tensor([0.2, 0.4, 0.6]), torch.tensor([0.1, 0.2, 0.3])
    standardised = (pixels / 255 - mean.view(-1, 1, 1)) / deviation.view(-1, 1, 1)
    model = take_trunk(network(), source.state_dict(), mean, deviation)
    with torch.no_grad():
        shallow, middle = model.front(standardised)
        torch.testing.assert_close(
            model.outputs(standardised).deep, source.features((pixels - 127) / 128, 10), atol=1e-4, rtol=1e-3
        )
        torch.testing.assert_close(shallow, source.stem((pixels - 127) / 128), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(middle, source.features((pixels - 127) / 128, 4), atol=1e-4, rtol=1e-3)


def test_weights_that_do_not_fit_are_refused_in_one_line():
    state = EfficientNetLite0(3, 32, 32, 10).state_dict()
    with pytest.raises(InputError, match=r"have no blocks\.0"):
        take_trunk(network(), {k: v for k, v in state.items() if k.startswith("stem")}, torch.zeros(3), torch.ones(3))
    grey = build("protopnet", **{**IMAGE, "in_channels": 1})
    with pytest.raises(InputError, match="use images in colour") as caught:
        take_trunk(grey, state, torch.zeros(1), torch.ones(1))
    assert "\n" not in str(caught.value)


def test_it_is_saved_and_loaded_with_all_its_buffers(tmp_path):
    model = network(head="linear")
    model.active[3], model.input_shift[1] = 0, 0.25
    save_model(model, tmp_path / "model.safetensors", workload="w")
    again = load_model(tmp_path / "model.safetensors")
    assert torch.equal(again(images()), model(images()))


@pytest.mark.parametrize(
    "arguments", [{"similarity": "cosine"}, {"head": "mlp"}, {"per_class": 0}, {"channels": 0}, {"add_on": "deep"}]
)
def test_impossible_settings_are_refused(arguments):
    with pytest.raises(InputError, match="do not make a model"):
        build("protopnet", **IMAGE, **arguments)
