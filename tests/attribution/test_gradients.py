import captum.attr
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from winnow.attribution import gradients
from winnow.errors import InputError
from winnow.models import build

IMAGE = {"in_channels": 2, "height": 12, "width": 10, "classes": 3}
X = torch.randn(5, 2, 12, 10, generator=torch.Generator().manual_seed(0))
TARGET = torch.tensor([0, 2, 1, 2, 0])
NETS = ["mlp", "small_cnn", "residual", "depthwise_cnn"]
MAPS = [("small_cnn", "relu1"), ("small_cnn", "relu2"), ("residual", "block1"), ("residual", "block3")]

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")


def net(name):
    model = build(name, seed=1, **IMAGE).train()
    model(X)  # running statistics of norms that are not the ones of a new model
    return model


def close(ours, theirs):
    # Both sum float32 numbers in other orders.
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_gradients_equal_captums_in_eval_mode_and_leave_the_mode_alone(name):
    model = net(name)
    ours = [f(model, X, TARGET) for f in (gradients.logit_gradient, gradients.gradient_times_input)]
    assert model.training and all(m.training for m in model.modules())
    model.eval()
    close(ours[0], captum.attr.Saliency(model).attribute(X, TARGET, abs=False))
    close(ours[1], captum.attr.InputXGradient(model).attribute(X, TARGET))
    loss = captum.attr.Saliency(lambda x: nn.functional.cross_entropy(model(x), TARGET, reduction="none"))
    close(gradients.loss_gradient(model, X, TARGET), loss.attribute(X, abs=False))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("steps", [2, 7])
def test_integrated_gradients_equal_captums(name, steps):
    model = net(name).eval()
    theirs = captum.attr.IntegratedGradients(model)
    for baseline in (0.0, 0.3, X.flip(0)):
        expected = theirs.attribute(X, baseline, TARGET, n_steps=steps, method="riemann_middle")
        close(gradients.integrated_gradients(model, X, TARGET, baseline, steps), expected)


def test_a_path_in_several_calls_gives_what_one_call_gives(monkeypatch):
    model = net("mlp")
    whole = gradients.integrated_gradients(model, X, TARGET, 0.0, 7)
    monkeypatch.setattr(gradients, "ENTRIES", 3 * X[:1].numel())
    sizes = []
    model.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    torch.testing.assert_close(gradients.integrated_gradients(model, X, TARGET, 0.0, 7), whole)
    assert gradients.logit_gradient(model, X, TARGET).shape == X.shape and max(sizes) == 3


@pytest.mark.parametrize(("name", "layer"), MAPS)
def test_grad_cam_equals_captums(name, layer):
    model = net(name).eval()
    theirs = captum.attr.LayerGradCam(model, model.get_submodule(layer))
    close(gradients.grad_cam(model, X, TARGET, layer), theirs.attribute(X, TARGET, relu_attributions=True)[:, 0])


@pytest.mark.parametrize(("name", "layer"), [*MAPS, ("mlp", "relu1")])
def test_path_integrals_at_a_layer_equal_captums(name, layer):
    model = net(name).eval()
    theirs = captum.attr.LayerIntegratedGradients(model, model.get_submodule(layer))
    expected = theirs.attribute(X, 0 * X, TARGET, n_steps=10, method="riemann_right")
    baseline = gradients.rest_of(model, 0 * X[:1], layer)[0]
    torch.testing.assert_close(
        gradients.layer_path_integral(model, X, TARGET, layer, baseline, 10), expected.detach(), rtol=1e-4, atol=1e-5
    )


class Product(nn.Module):
    """Two maps a and b from the image; the logits of three classes are sums over positions of a b, a and -b."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Identity()

    def forward(self, x):
        a, b = self.maps(x).unbind(1)
        return torch.stack([(a * b).sum((1, 2)), a.sum((1, 2)), -b.sum((1, 2))], 1)


def test_layer_cam_weights_each_position_by_its_own_positive_gradient():
    a, b = X[:, 0], X[:, 1]
    model = Product()
    by_hand = [(b.relu() * a + a.relu() * b).relu(), a.relu(), 0 * b]
    for target in range(3):
        cam = gradients.layer_cam(model, X, torch.full((5,), target), "maps")
        torch.testing.assert_close(cam, by_hand[target])
    mean_b, mean_a = b.mean((1, 2), keepdim=True), a.mean((1, 2), keepdim=True)
    cam = gradients.grad_cam(model, X, torch.zeros(5, dtype=torch.int64), "maps")
    torch.testing.assert_close(cam, (mean_b * a + mean_a * b).relu())


def test_smooth_grad_of_a_linear_model_is_its_weight_and_of_a_square_the_gradient_at_the_mean():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(240, 3))
    smooth = gradients.smooth_grad(linear, X, TARGET, samples=3)
    torch.testing.assert_close(smooth, linear[1].weight[TARGET].view(X.shape).detach())
    square = Square()
    target = torch.zeros(5, dtype=torch.int64)
    deviation = 0.2 * (X.flatten(1).amax(1) - X.flatten(1).amin(1))
    error = (gradients.smooth_grad(square, X, target, noise=0.2, samples=400) - 2 * X).flatten(1)
    # The mean of 400 draws, times 2: a standard error of deviation / 10 at each of 240 pixels.
    torch.testing.assert_close(error.std(1), deviation / 10, rtol=0.2, atol=0)
    assert error.mean(1).abs().max() < 4 * float(deviation.max()) / 10 / 240**0.5
    assert torch.equal(gradients.smooth_grad(square, X, target, noise=0.0, samples=1), 2 * X)


class Square(nn.Module):
    def forward(self, x):
        return x.square().flatten(1).sum(1, keepdim=True)


def test_smooth_grad_repeats_with_its_seed_and_differs_with_another():
    model = net("small_cnn")
    first, again, other = (gradients.smooth_grad(model, X, TARGET, samples=2, seed=s) for s in (3, 3, 4))
    assert torch.equal(first, again) and not torch.allclose(first, other)


class Cubic(nn.Module):
    """A smooth model whose layer's path integral is not exact at few steps."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(2, 3, 3, bias=False)
        self.output = nn.Linear(240, 3)

    def forward(self, x):
        maps = self.maps(x)
        return self.output((maps + maps**3).flatten(1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_attributions_along_a_path_sum_to_what_the_logit_gains(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Cubic().double()
    model.output = nn.Linear(3 * 10 * 8, 3).double()
    x = X.double()
    gained = (model(x) - model(0 * x)).gather(1, TARGET[:, None])[:, 0].detach()
    sums = [
        gradients.integrated_gradients(model, x, TARGET, 0.0, 200).flatten(1).sum(1),
        gradients.layer_path_integral(model, x, TARGET, "maps", 0.0, 10).flatten(1).sum(1),
        gradients.layer_path_integral(model, x, TARGET, "maps", 0.0, 1000).flatten(1).sum(1),
    ]
    # Middles: an error of order 1 / n^2. Right ends: of order 1 / n; here 1.5 / n of the cubic part.
    cubic = (gained - _linear_part(model, x)).abs()
    assert ((sums[0] - gained).abs() <= 1e-4 * cubic + 1e-9).all()
    assert ((sums[1] - gained).abs() <= 0.16 * cubic + 1e-9).all()
    assert ((sums[2] - gained).abs() <= 0.0016 * cubic + 1e-9).all()


def test_the_usual_settings_are_the_documented_ones():
    torch.manual_seed(0)
    model, x = Cubic().double(), X.double()
    usual = gradients.integrated_gradients(model, x, TARGET)
    assert torch.equal(usual, gradients.integrated_gradients(model, x, TARGET, 0.0, 50))
    for other in ((1.0, 50), (0.0, 49), (0.0, 51)):
        assert not torch.allclose(usual, gradients.integrated_gradients(model, x, TARGET, *other), rtol=1e-9)
    usual = gradients.layer_path_integral(model, x, TARGET, "maps")
    assert torch.equal(usual, gradients.layer_path_integral(model, x, TARGET, "maps", 0.0, 10))
    activation, rest = gradients.rest_of(model, x, "maps")
    assert torch.equal(usual, gradients.path_integral(rest, activation, TARGET))
    assert torch.equal(usual, gradients.path_integral(rest, activation, TARGET, 0.0, 10))
    usual = gradients.smooth_grad(model, x, TARGET)
    assert torch.equal(usual, gradients.smooth_grad(model, x, TARGET, 0.15, 50, 0))
    for other in ((0.16, 50, 0), (0.15, 49, 0), (0.15, 51, 0), (0.15, 50, 1)):
        assert not torch.allclose(usual, gradients.smooth_grad(model, x, TARGET, *other), rtol=1e-9)


def test_no_example_has_no_attribution():
    model = net("mlp")
    assert gradients.logit_gradient(model, X[:0], TARGET[:0]).shape == (0, 2, 12, 10)
    assert gradients.integrated_gradients(model, X[:0], TARGET[:0]).shape == (0, 2, 12, 10)


def test_a_map_is_flat_where_its_values_differ_by_rounding_alone_and_not_where_they_differ_by_more():
    maps = torch.full((3, 4, 4), -1000.0)
    maps[1, 0, 0] += 0.0005  # of 1000: below a millionth
    maps[2, 0, 0] += 0.01
    large = gradients.upsampled(maps, 4, 4)
    assert (large[:2] == 0).all() and large[2].max() == 1 and large[2, 0, 0] == 1
    zero = torch.zeros(2, 4, 4)
    zero[1, 2, 3] = 1e-30
    small = gradients.upsampled(zero, 4, 4)
    assert (small[0] == 0).all() and small[1].flatten().argmax() == 11 and small[1].sum() == 1


def _linear_part(model, x):
    with torch.no_grad():
        maps = model.maps(x)
        return (maps.flatten(1) * model.output.weight[TARGET]).sum(1)


def test_a_baseline_that_is_the_activation_gives_a_zero_map_and_the_map_a_flat_one():
    model = net("small_cnn").eval()
    activation = gradients.rest_of(model, X, "relu2")[0]
    zero = gradients.layer_path_integral(model, X, TARGET, "relu2", activation)
    assert torch.equal(zero, torch.zeros_like(activation))
    assert torch.equal(gradients.upsampled(zero.sum(1), 12, 10), torch.zeros(5, 12, 10))


def test_upsampled_maps_fill_their_range_and_keep_their_place():
    maps = torch.zeros(2, 3, 3)
    maps[0, 0, 2], maps[1] = 5.0, 0.7
    large = gradients.upsampled(maps, 12, 9)
    assert large.shape == (2, 12, 9) and large[0].min() == 0 and large[0].max() == 1
    assert large[0].argmax() in range(9) or large[0, :4, 6:].max() == 1
    assert torch.equal(large[1], torch.zeros(12, 9))
    same = gradients.upsampled(X[:, 0], 12, 10)
    low, high = X[:, 0].amin((1, 2), True), X[:, 0].amax((1, 2), True)
    torch.testing.assert_close(same, (X[:, 0] - low) / (high - low))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: gradients.logit_gradient(m, X, TARGET[:3]), "5 examples and target 3"),
        (lambda m: gradients.integrated_gradients(m, X, TARGET, steps=0), "steps is 0"),
        (lambda m: gradients.integrated_gradients(m, X, TARGET, torch.zeros(7)), "fits no x"),
        (lambda m: gradients.smooth_grad(m, X, TARGET, samples=0), "samples is 0"),
        (lambda m: gradients.smooth_grad(m, X, TARGET, noise=-1.0), "noise -1"),
        (lambda m: gradients.grad_cam(m, X, TARGET, "relu3"), "relu3.*no height and width"),
        (lambda m: gradients.layer_cam(m, X, TARGET, "relu9"), "did you mean"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_one_line(call, words):
    with pytest.raises(InputError, match=words):
        call(net("small_cnn"))
