import pytest
import torch

from winnow.dictionaries.adam import Adam, clip, clip_each


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_torch_adam(dtype):
    generator = torch.Generator().manual_seed(0)
    ours = {name: torch.randn(3, 4, generator=generator, dtype=dtype) for name in "ab"}
    theirs = [ours[name].clone().requires_grad_() for name in "ab"]
    peer, adam = torch.optim.Adam(theirs, lr=0.1, betas=(0.9, 0.999), eps=1e-8), Adam(ours)
    for step in range(25):
        rate = 0.1 / (1 + step)
        gradients = {
            name: torch.randn(3, 4, generator=generator, dtype=dtype) * 10.0 ** (step % 3 - 1) for name in "ab"
        }
        peer.param_groups[0]["lr"] = rate
        for parameter, gradient in zip(theirs, gradients.values(), strict=True):
            parameter.grad = gradient.clone()
        peer.step()
        adam.step(ours, gradients, rate)
    for name, parameter in zip("ab", theirs, strict=True):
        torch.testing.assert_close(ours[name], parameter.detach(), atol=1e-6, rtol=1e-5)
    assert adam.steps == 25


def test_a_relative_rate_scales_the_step_of_its_parameter_alone():
    parameters = {"a": torch.zeros(2), "b": torch.zeros(2)}
    Adam(parameters).step(parameters, {"a": torch.ones(2), "b": torch.ones(2)}, 0.1, {"b": 3.0})
    torch.testing.assert_close(parameters["b"], 3 * parameters["a"])
    torch.testing.assert_close(parameters["a"], torch.full((2,), -0.1))


def test_forgotten_rows_step_as_if_new_and_the_others_as_before():
    parameters = {"a": torch.zeros(2, 1), "b": torch.zeros(2, 1)}
    adam = Adam(parameters)
    ones = {name: torch.ones(2, 1) for name in "ab"}
    adam.step(parameters, ones, 0.1)
    adam.forget(torch.tensor([1]), ("a",))
    assert adam.first["a"].flatten().tolist() == pytest.approx([0.1, 0])
    assert adam.second["a"].flatten().tolist() == pytest.approx([0.001, 0])
    assert adam.first["b"].flatten().tolist() == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("size", [0.01, 1.0, 50.0])
def test_clipping_is_that_of_torch(size):
    generator = torch.Generator().manual_seed(1)
    ours = {name: torch.randn(5, 2, generator=generator) * size for name in "ab"}
    peers = [torch.zeros(5, 2) for _ in "ab"]
    for peer, gradient in zip(peers, ours.values(), strict=True):
        peer.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(peers, 1.0)
    clip(ours)
    for peer, gradient in zip(peers, ours.values(), strict=True):
        torch.testing.assert_close(gradient, peer.grad, atol=1e-5, rtol=1e-5)


def test_gradients_of_several_dictionaries_are_clipped_each_by_its_own_norm():
    generator = torch.Generator().manual_seed(2)
    size = torch.tensor([0.01, 1.0, 50.0])
    several = {"a": torch.randn(3, 5, 2, generator=generator), "b": torch.randn(3, 4, generator=generator)}
    several = {name: gradient * size.view(3, *[1] * (gradient.ndim - 1)) for name, gradient in several.items()}
    alone = [{name: gradient[i].clone() for name, gradient in several.items()} for i in range(3)]
    for one in alone:
        clip(one)
    clip_each(several)
    for i, one in enumerate(alone):
        for name, gradient in one.items():
            torch.testing.assert_close(several[name][i], gradient)
