"""The cluster layer against the algebra of distances and sklearn."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch.nn import functional as F

from tests.train.clouds import clouds, draws, layer
from winnow.errors import InputError
from winnow.train.cluster_layer import fit_layer


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-3, 0.5, 7.0]))
def test_outputs_are_what_squared_distances_leave_of_squared_lengths(seed, alpha):
    z, w = draws(9, 5, seed=seed), draws(4, 5, seed=seed + 1)
    expected = alpha * (z.square().sum(1, keepdim=True) - (z[:, None] - w).square().sum(2))
    torch.testing.assert_close(layer(w, alpha=alpha)(z), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("normalise", [False, True])
def test_the_largest_output_is_the_nearest_centre(normalise):
    z, w = draws(10_000, 6), 2 * draws(8, 6, seed=1)
    made = layer(w, normalise)
    if normalise:
        z, w = F.normalize(z, dim=1), F.normalize(w, dim=1)
    assert torch.equal(made.assign(z), torch.cdist(z, w).argmin(1))
    torch.testing.assert_close(made.centres().detach(), w)


def test_without_the_bias_centres_of_unequal_length_would_be_confused():
    z, w = draws(10_000, 6), 2 * draws(8, 6, seed=1)
    made = layer(w)
    assert not torch.equal((z @ made.weight.T).argmax(1), made.assign(z))


def test_soft_assignments_harden_as_the_temperature_falls_and_are_uniform_when_it_is_high():
    z, w = draws(50, 6), draws(4, 6, seed=1)
    hard = layer(w, alpha=1e4)(z).softmax(1)
    assert torch.equal(hard, F.one_hot(layer(w).assign(z), 4).double())
    torch.testing.assert_close(layer(w, alpha=1e-9)(z).softmax(1), torch.full((50, 4), 0.25).double())


@pytest.mark.parametrize("normalise", [False, True])
def test_the_loss_is_the_mean_squared_distance_to_the_nearest_centre(normalise):
    z, w = clouds(), draws(3, 4, seed=5)
    made = layer(w, normalise)
    if normalise:
        z, w = F.normalize(z, dim=1), F.normalize(w, dim=1)
    assert float(made.loss(z).detach()) == pytest.approx(float(torch.cdist(z, w).min(1).values.square().mean()))


def test_the_gradient_of_a_centre_pulls_it_to_its_members():
    z, w = clouds(), draws(3, 4, seed=5)
    made = layer(w)
    (len(z) * made.loss(z)).backward()
    labels = made.assign(z)
    expected = torch.stack([2 * (w[j] - z[labels == j]).sum(0) for j in range(3)])
    torch.testing.assert_close(made.weight.grad * 2 * made.alpha, expected, rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(lambda v: len(z) * made.loss(v), z.clone().requires_grad_(), atol=1e-6)


def test_fixed_centres_get_no_gradient():
    z, made = clouds().requires_grad_(), layer(draws(3, 4, seed=5))
    made.distances(z, fixed=True).sum().backward()
    assert made.weight.grad is None
    assert z.grad.abs().sum() > 0


def test_a_step_on_all_data_is_one_step_of_lloyd():
    z = clouds()
    made = layer(z[:3].clone())
    lloyd = KMeans(3, init=z[:3].numpy(), n_init=1, max_iter=1).fit(z.numpy())
    made.partial_fit(z)
    torch.testing.assert_close(made.centres().detach(), torch.from_numpy(lloyd.cluster_centers_), rtol=1e-9, atol=1e-9)


def test_over_a_stream_centres_are_those_of_mini_batch_k_means():
    z = clouds(n=90)
    made = layer(z[:3].clone())
    peer = MiniBatchKMeans(3, init=z[:3].numpy(), n_init=1, reassignment_ratio=0)
    for batch in z.split(10):
        made.partial_fit(batch)
        peer.partial_fit(batch.numpy())
    torch.testing.assert_close(made.centres().detach(), torch.from_numpy(peer.cluster_centers_), rtol=1e-9, atol=1e-9)


def test_a_centre_without_members_stays_and_all_are_unit_long_where_they_are_normalised():
    z = F.normalize(clouds(), dim=1)
    made = layer(torch.cat([z[:2], -z[:1]]), normalise=True)
    before = made.centres()[2].detach().clone()
    made.partial_fit(z[:2])
    torch.testing.assert_close(made.centres()[2].detach(), before)
    made.partial_fit(z)
    torch.testing.assert_close(made.centres().norm(dim=1).detach(), torch.ones(3).double())


def test_an_empty_cluster_is_put_at_the_farthest_input():
    z = torch.tensor([[0.0], [1.0], [9.0]])
    made = layer(torch.tensor([[0.0], [50.0], [60.0]]))
    assert made.reseed_empty(z) == 2
    # The second empty one goes to what is farthest after the first was moved.
    assert made.centres().flatten().tolist() == pytest.approx([0.0, 9.0, 1.0])
    assert made.reseed_empty(z) == 0


def test_shallow_tell_reaches_what_lloyd_reaches_from_the_same_start():
    z = clouds(n=600, k=5)
    made = layer(z[:5].clone())
    objectives = fit_layer(made, z, epochs=15, batch=50, seed=0)
    lloyd = KMeans(5, init=z[:5].numpy(), n_init=1).fit(z.numpy())
    assert len(objectives) == 15
    assert objectives[-1] * len(z) <= 1.02 * lloyd.inertia_
    assert objectives[-1] == pytest.approx(float(made.loss(z).detach()))
    again = layer(z[:5].clone())
    assert fit_layer(again, z, epochs=15, batch=50, seed=0) == objectives
    assert fit_layer(layer(z[:5].clone()), z, epochs=2, batch=50, seed=1) != objectives[:2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_layer(layer(draws(3, 4)), draws(2, 4), 1, 3, 0), "there are 2 rows for 3 clusters; ask for fewer"),
        (lambda: fit_layer(layer(draws(3, 4)), torch.ones(9, 4).double(), 1, 3, 0), "all columns are constant"),
        (lambda: fit_layer(layer(draws(3, 4)), draws(9, 4) / 0, 1, 3, 0), "NaN or infinite"),
        (lambda: layer(draws(3, 4)).partial_fit(draws(9, 4) / 0), "NaN or infinite"),
        (lambda: layer(draws(3, 4), True).assign(torch.zeros(2, 4).double()), "length 0 and cannot be normalised"),
    ],
)
def test_rows_that_cannot_be_clustered_are_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message):
        call()
