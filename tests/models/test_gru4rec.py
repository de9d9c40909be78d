"""GRU4Rec runs torch's recurrence from the first item of each history, whatever stands before it."""

import torch

from winnow.models import build


def model():
    return build("gru4rec", items=20, window=7, d=6, hidden=5, seed=1).eval()


@torch.no_grad()
def test_states_are_those_of_the_recurrence_over_the_history_alone():
    net = model()
    x = torch.tensor([[0, 0, 0, 4, 9, 2], [7, 1, 1, 3, 20, 5], [0, 0, 0, 0, 0, 8]])
    states = net.states(x)
    for row, found in zip(x, states, strict=True):
        history = row[row > 0]
        hidden = net.gru(net.embedding(history)[None])[0][0]
        assert torch.allclose(found[row > 0], net.user_state(hidden), atol=1e-6)
        assert not found[row == 0].any()


@torch.no_grad()
def test_scores_are_products_with_the_items_own_embeddings():
    net = model()
    x = torch.tensor([[3, 1, 2]])
    assert torch.allclose(net(x)[..., 1:], net.states(x) @ net.embedding.weight[1:].T)
    assert float(net(x)[..., 0].max()) == -1e9


def test_only_the_state_is_a_hook_point_and_dropout_is_for_training_alone():
    net, x = model(), torch.tensor([[3, 1, 2]])
    assert net.hook_points() == ["user_state"]
    assert torch.equal(net(x), net(x)) and not torch.equal(net.train()(x), net(x))
