import numpy as np
import pytest
import torch

from winnow.errors import InputError
from winnow.evaluate.leakage_theory import WideNet, block_norms, fit_wide, logistic, marking, signal_blocks, toy


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_points_have_one_signal_block_and_noise_in_the_others():
    data = signal_blocks(3, 4, 5, 0.2, 1)
    blocks = data.x.view(30, 3, 4)
    assert torch.bincount(data.block).tolist() == [10, 10, 10] and data.y.sum() == 0
    for point, y, signal in zip(blocks, data.y, data.block, strict=True):
        torch.testing.assert_close(point[signal], y * torch.full((4,), 0.5))
        lengths = point.norm(dim=1)
        torch.testing.assert_close(lengths[torch.arange(3) != signal], torch.full((2,), 0.2))
    assert not torch.equal(blocks[0, 1], blocks[3, 1])  # other noise at another point
    coordinates = signal_blocks(4, 1, 1, 0.0, 0)
    assert torch.equal(coordinates.x, torch.cat([torch.eye(4), -torch.eye(4)]))
    assert torch.equal(data.x, signal_blocks(3, 4, 5, 0.2, 1).x) and not torch.equal(
        data.x, signal_blocks(3, 4, 5, 0.2, 2).x
    )


def linear(weights):
    """relu(w x) - relu(-w x) as a wide net: the linear function w x."""
    net = WideNet(len(weights), 2, False, 0.0, 0)
    w = torch.tensor(weights)
    with torch.no_grad():
        net.hidden.weight.copy_(torch.stack([w, -w]))
        net.output.weight.copy_(torch.tensor([[1.0, -1.0]]))
    return net


def test_norms_and_marks_of_a_linear_function_by_hand():
    data = signal_blocks(3, 1, 1, 0.0, 0)
    net = linear([1.0, 2.0, 4.0])
    assert torch.equal(block_norms(net, data), torch.tensor([[1.0, 2.0, 4.0]]).expand(6, 3))
    scores = marking(net, data)
    assert scores["spread"] == pytest.approx(4) and scores["signal_marked"] == pytest.approx(0)
    assert scores["alignment"] == pytest.approx((1 + 2 + 4) / 3 / 21**0.5, rel=1e-6)
    pairs = signal_blocks(2, 2, 1, 0.0, 0)
    assert torch.equal(block_norms(linear([3.0, 4.0, 0.0, 1.0]), pairs)[0], torch.tensor([5.0, 1.0]))
    torch.testing.assert_close(
        logistic(net(data.x), data.y), (1 + (-data.y * net(data.x)[:, 0]).exp()).log().detach(), check_stride=False
    )


class Cubes(torch.nn.Module):
    def forward(self, x):
        return x.pow(3).sum(1, keepdim=True)


def test_a_signal_that_alone_is_marked_scores_one():
    scores = marking(Cubes(), signal_blocks(2, 1, 1, 0.0, 0))
    assert scores["signal_marked"] == 1 and scores["alignment"] == pytest.approx(1)
    assert scores["spread"] == pytest.approx(1e6, rel=1e-3)  # the bound where a norm is 0
    # The gradient at y e_j is 3 e_j: at a point of another block that is the block marked least.
    data = signal_blocks(2, 1, 1, 0.0, 0)
    assert marking(Cubes(), data._replace(block=1 - data.block))["signal_marked"] == -1


def test_the_standard_net_marks_all_blocks_alike_and_the_robust_one_the_signal():
    found = toy(300, 660, 0.45, 0)
    standard = found.scores["standard", "toy_coordinates"]
    assert standard["loss"] <= 1e-3 and standard["steps"] < 660
    assert standard["spread"] < 1.05 and standard["alignment"] == pytest.approx(10**-0.5, rel=0.01)
    assert abs(standard["signal_marked"]) <= 0.2
    robust = found.scores["robust", "toy_coordinates"]
    assert robust["spread"] > 3 and robust["signal_marked"] > 0.9 and robust["alignment"] > 0.9
    assert found.scores["standard", "toy_blocks"]["spread"] < 2
    norms = {name: found.norms[name].to_numpy() for name in found.norms.column_names}
    robust = norms["system"] == "robust"
    assert robust.sum() == 200 and (norms["variant"] == "toy_blocks").sum() == 2000
    size, signal = norms["norm"][robust].reshape(20, 10), norms["is_signal"][robust].reshape(20, 10)
    np.testing.assert_allclose(size.mean(axis=1), 1, atol=1e-5)
    assert (signal.sum(axis=1) == 1).all() and size[signal].mean() > 3 * size[~signal].mean()
    assert norms["point"][robust].reshape(20, 10)[:, 0].tolist() == list(range(20))
    assert norms["block"][robust].reshape(20, 10)[0].tolist() == list(range(10))


def test_training_ends_at_the_loss_asked_for_or_when_its_steps_are_done_and_not_before_the_attack_is_whole():
    data = signal_blocks(3, 1, 1, 0.0, 0)
    loss, steps = fit_wide(WideNet(3, 50, False, 0.3, 0), data, learning_rate=1.0, steps=400, until=0.3)
    assert loss <= 0.3 and 1 < steps < 400
    with torch.no_grad():
        net = WideNet(3, 50, False, 0.3, 0)
        start = float(logistic(net(data.x), data.y).mean())
    assert fit_wide(net, data, learning_rate=1.0, steps=400, until=2 * start) == (pytest.approx(start), 1)
    _, steps = fit_wide(WideNet(3, 50, True, 0.3, 0), data, 0.1, learning_rate=0.5, steps=30, until=5.0)
    assert steps == 11  # the attack is whole after a third of the steps


def test_nets_start_small_from_their_seed():
    first, again, other = (WideNet(5, 2000, True, 0.01, seed) for seed in (1, 1, 2))
    assert torch.equal(first.hidden.weight, again.hidden.weight) and not torch.equal(
        first.hidden.weight, other.hidden.weight
    )
    assert first.hidden.weight.detach().std().item() == pytest.approx(0.01, rel=0.05)
    assert first.output.weight.detach().std().item() == pytest.approx(0.01, rel=0.1) and not first.hidden.bias.any()


@pytest.mark.parametrize("arguments", [(1, 1, 1, 0.0), (2, 0, 1, 0.0), (2, 1, 0, 0.0), (2, 1, 1, 1.0), (2, 1, 1, -0.1)])
def test_impossible_blocks_are_refused(arguments):
    with pytest.raises(InputError, match="blocks is"):
        signal_blocks(*arguments, seed=0)
