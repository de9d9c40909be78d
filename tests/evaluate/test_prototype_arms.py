"""Other heads on a trained trunk are seen as prototypes; Grad-CAM is captum's."""

import copy

import pytest
import torch
from captum.attr import LayerGradCam

from winnow.errors import InputError
from winnow.evaluate.prototype_arms import (
    AfterFront,
    GradCamMaps,
    OnTrunk,
    arms_of,
    fit_head,
    fit_on_trunk,
    front_of,
    shared_fronts,
)
from winnow.evaluate.prototype_judging import maps_of
from winnow.models import build
from winnow.train.component_arms import accuracy
from winnow.train.deep_components import DeepCBC, DeepRecipe
from winnow.train.prototype_tree import PrototypeTree
from winnow.train.tesnet import Tesnet

IMAGE = {"in_channels": 3, "height": 32, "width": 32, "classes": 3}
RECIPE = DeepRecipe(2, 20, 5, batch=12, shift=0, learning_rate=1e-2, head_learning_rate=2e-2)


def coloured(n=24, seed=0):
    """Images of three colours under noise, and which colour."""
    labels = torch.arange(n) % 3
    x = 0.3 * torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    x[torch.arange(n), labels] += 1.5
    return x, labels


@pytest.fixture(scope="module")
def trunk():
    return build("protopnet", seed=0, channels=8, per_class=2, **IMAGE).eval()


@pytest.mark.parametrize("head", ["cbc", "pipnet"])
def test_another_head_on_the_trunk_learns_and_leaves_the_trunk_alone(trunk, head):
    x, labels = coloured()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    (middle,) = shared_fronts([trunk], x)
    model = fit_on_trunk(trunk, middle, labels, head, RECIPE, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    maps = maps_of(model, middle)
    assert maps.shape == (24, 6, *trunk.maps(x[:1]).shape[2:]) and torch.allclose(
        maps.sum(dim=1), torch.ones(()), atol=1e-5
    )
    assert torch.allclose(model(middle), model.head.head(maps.amax((2, 3))), atol=1e-5)
    other, of = coloured(seed=1)
    assert accuracy(model, *shared_fronts([trunk], other), of) > 0.6  # chance is a third
    again = fit_on_trunk(trunk, middle, labels, head, RECIPE, seed=0)
    assert torch.equal(again(middle), model(middle))


def other_head(kind, seed=0):
    return Tesnet(112, 3, 2, 8, seed) if kind == "tesnet" else PrototypeTree(112, 3, 3, 8, seed)


@pytest.mark.parametrize(("kind", "least"), [("tesnet", 0.6), ("tree", 0.4)])  # chance is a third
def test_a_head_with_its_own_loss_learns_on_the_trunk_and_leaves_it_alone(trunk, kind, least):
    x, labels = coloured(48)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    (middle,) = shared_fronts([trunk], x)
    recipe = DeepRecipe(4, 40, 16, batch=12, shift=0)
    model = fit_head(trunk, middle, labels, other_head(kind), recipe, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    deep = trunk.blocks_after(middle)
    assert torch.equal(maps_of(model, middle), model.head.maps(deep)) and torch.equal(model(middle), model.head(deep))
    assert torch.equal(model.class_of(), model.head.class_of()) and not model.head.training
    assert accuracy(model, *shared_fronts([trunk], coloured(48, seed=1)[0]), labels) > least
    again = fit_head(trunk, middle, labels, other_head(kind), recipe, seed=0)
    assert torch.equal(again(middle), model(middle))
    if kind == "tree":  # each example was counted once for each of its views
        assert float(model.head.leaves.sum()) == pytest.approx(96, rel=1e-3)


def test_a_head_is_trained_on_maps_of_unit_deviation(trunk):
    """Without a step of training, only the scale of what is put in is undone."""
    x, labels = coloured()
    (middle,) = shared_fronts([trunk], x)
    head = other_head("tesnet")
    before = head.add_on[0].weight.detach().clone()
    fitted = fit_head(trunk, middle, labels, head, DeepRecipe(0, 0, 0), seed=0)
    deviation = trunk.blocks_after(middle).std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
    torch.testing.assert_close(fitted.head.add_on[0].weight * deviation, before)


def test_the_front_of_a_network_has_gradients_and_is_what_is_shared(trunk):
    x, _ = coloured(150)
    with torch.no_grad():
        assert torch.equal(front_of(trunk)(x), shared_fronts([trunk], x)[0])
    few = x[:2].clone().requires_grad_()
    assert torch.autograd.grad(front_of(trunk)(few).sum(), few)[0].abs().sum() > 0


def test_networks_of_one_trunk_share_their_first_layers_and_others_are_refused(trunk):
    x, _ = coloured(150)  # more than a batch
    middle, few = shared_fronts([trunk, copy.deepcopy(trunk)], x, x[:3])
    model = AfterFront(trunk)
    with torch.no_grad():
        assert torch.allclose(model(middle), trunk(x), atol=1e-5)
        assert torch.allclose(model.maps(few), trunk.maps(x[:3]), atol=1e-5)
    assert torch.equal(model.class_of(), trunk.class_of())
    for start, shared in (("stem.", False), ("input_shift", False), ("blocks.4.", False), ("blocks.5.", True)):
        other = copy.deepcopy(trunk)
        name = next(n for n in other.state_dict() if n.startswith(start) and n.endswith(("weight", "shift")))
        other.state_dict()[name].add_(1)
        if shared:
            assert len(shared_fronts([trunk, other], x[:1])[0]) == 1
        else:
            with pytest.raises(InputError, match="network 1 has other first layers"):
                shared_fronts([trunk, other], x[:1])


def test_a_component_is_of_the_class_that_its_presence_speaks_for(trunk):
    for head in ("cbc", "pipnet"):
        model = DeepCBC(torch.nn.Identity(), 112, 4, 3, head)
        wanted = torch.tensor([2, 0, 1, 1])
        with torch.no_grad():
            if head == "cbc":
                model.head.logits.zero_()
                model.head.logits[torch.arange(4), wanted] = 3.0
                model.head.logits[4:, 0] = 2.0  # absences speak for class 0
            else:
                model.head.weight.fill_(-5.0)
                model.head.weight[torch.arange(4), wanted] = 1.0
        assert OnTrunk(trunk, model).class_of().tolist() == wanted.tolist()


def test_grad_cam_has_a_map_for_each_class_as_captum_gives_it():
    torch.manual_seed(0)
    model = build("depthwise_cnn", seed=0, channels=[4, 8], **IMAGE).eval()
    layer = "blocks.0"
    x = torch.randn(5, 3, 32, 32)
    control = GradCamMaps(model, layer, 3)
    with torch.no_grad():
        found = control.maps(x)
    module = dict(model.named_modules())[layer]
    for c in range(3):
        expected = LayerGradCam(model, module).attribute(x, target=c, relu_attributions=True)[:, 0]
        assert torch.allclose(found[:, c], expected, atol=1e-6)
    assert control.class_of().tolist() == [0, 1, 2] and torch.equal(control(x), model(x))


def test_every_arm_stands_beside_the_networks_given(trunk):
    x, labels = coloured()
    (middle,) = shared_fronts([trunk], x)
    arms = arms_of({"base": trunk, "both": trunk}, middle, labels, DeepRecipe(1, 1, 1, shift=0), seed=0)
    assert [(name, system) for name, (system, _) in arms.items()] == [
        ("base", "protopnet"),
        ("both", "protopnet"),
        ("components", "components"),
        ("pipnet", "pipnet"),
        ("tesnet", "tesnet"),
        ("prototype tree", "prototype_tree"),
        ("random prototypes", "random_prototypes"),
        ("image centre", "centre"),
    ]
    for _, model in arms.values():
        assert model.maps(middle[:2]).shape[1] == len(model.class_of())
