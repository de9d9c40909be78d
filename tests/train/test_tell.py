"""The cluster layer against the algebra of distances and sklearn; the whole by what each epoch may move."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch import nn
from torch.nn import functional as F

from winnow.errors import InputError
from winnow.models.autoencoder import conv_autoencoder, mlp_autoencoder
from winnow.train.idec import Idec, student_t, targets
from winnow.train.tell import ClusterLayer, Tell, fit_layer


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer(centres, normalise=False, alpha=1e-3):
    made = ClusterLayer(centres.shape[1], len(centres), alpha, normalise).to(centres.dtype)
    made.set_centres(centres)
    return made


def clouds(seed=0, n=60, d=4, k=3):
    centres = 4 * draws(k, d, seed=seed)
    return centres[torch.arange(n) % k] + 0.4 * draws(n, d, seed=seed + 1)


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


def images(n=96, d=8, seed=0):
    return torch.sigmoid(clouds(seed, n, d)).float()


def model(alternate="epoch", normalise=True, **options):
    halves = mlp_autoencoder(8, [16], latent=4, dropout=0.0, seed=1)
    made = Tell(*halves, latent=4, clusters=3, alternate=alternate, normalise=normalise, **options)
    made.start(images(), "kmeans++", seed=0)
    return made


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(before, module):
    return any(not torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_clustering_moves_the_encoder_in_odd_epochs_only_and_the_centres_in_even_ones_only():
    from winnow.train.tell import _Clustering

    made, x = model(weight=5.0), images()
    task = _Clustering(made, x, True, None)
    for epoch in (0, 1, 2):
        batch = next(iter(task.batches("train", 32, 0, epoch)))
        made.zero_grad()
        task.loss(made, batch).backward()
        of_encoder = [p.grad.clone() for p in made.encoder.parameters()]
        of_centres = made.layer.weight.grad
        made.zero_grad()
        F.mse_loss(made.decoder(made.encode(batch)), batch).backward()
        alone = all(torch.equal(p.grad, g) for p, g in zip(made.encoder.parameters(), of_encoder, strict=True))
        assert alone == (epoch % 2 == 0)
        assert (of_centres is None) == (epoch % 2 == 1)


def test_by_batch_the_turns_change_within_an_epoch_and_without_alternation_both_move():
    from winnow.train.tell import _Clustering

    for alternate, expected in (("batch", [False, True, False]), ("none", [False] * 3)):
        made = model(alternate)
        task, found = _Clustering(made, images(), True, None), []
        for batch in task.batches("train", 32, 0, 0):
            made.zero_grad(set_to_none=True)
            task.loss(made, batch).backward()
            found.append(made.layer.weight.grad is None)
        assert found == expected


def test_the_loss_is_reconstruction_and_the_weighted_objective():
    from winnow.train.tell import _Clustering

    made, x = model("none", weight=0.3), images()
    expected = F.mse_loss(made.decoder(made.encode(x)), x) + 0.3 * made.layer.loss(made.encode(x))
    torch.testing.assert_close(_Clustering(made, x, True, None).loss(made, x), expected)
    torch.testing.assert_close(
        _Clustering(made, x, False, None).loss(made, x), F.mse_loss(made.decoder(made.encode(x)), x)
    )


@pytest.mark.parametrize("optimiser", ["adadelta", "adam"])
def test_training_repeats_itself_keeps_centres_unit_long_and_tells_of_every_epoch(optimiser):
    rate = {"adadelta": 1.0, "adam": 0.01}[optimiser]
    made, again, x = model(weight=0.1), model(weight=0.1), images()
    history = made.fit(x, 4, 32, optimiser, rate, seed=0, look=lambda labels: {"size": float((labels == 0).sum())})
    again.fit(x, 4, 32, optimiser, rate, seed=0)
    assert not moved(state(made), again)
    torch.testing.assert_close(made.layer.centres().norm(dim=1).detach(), torch.ones(3))
    for metric in ("reconstruction", "clustering", "moved", "empty", "size"):
        assert [step for name, _, step in history if name == metric] == [3, 6, 9, 12]
    last = {name: value for name, value, _ in history}
    z = made.features(x)
    assert last["clustering"] == pytest.approx(float(made.layer.loss(z).detach()), rel=1e-5)
    assert last["reconstruction"] == pytest.approx(float(F.mse_loss(made.decoder(z), x).detach()), rel=1e-5)
    assert last["size"] == float((made.predict(x) == 0).sum())


def test_the_autoencoder_alone_leaves_the_centres_and_learns_to_reconstruct():
    made, x = model(), images()
    before, centres = float(F.mse_loss(made.decoder(made.features(x)), x).detach()), made.layer.weight.detach().clone()
    made.fit(x, 30, 32, "adam", 0.01, clustering=False, seed=0)
    assert torch.equal(made.layer.weight.detach(), centres)
    assert float(F.mse_loss(made.decoder(made.features(x)), x)) < 0.8 * before


def test_the_gradient_of_normalised_centres_is_a_direction_of_constant_length():
    made, x = model("none"), images()
    gradient = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0] * 4, [0.0, 0.0, 0.0, -1e-3]])
    expected = torch.tensor([[0.6, 0.8, 0.0, 0.0], [0.0] * 4, [0.0, 0.0, 0.0, -1.0]]) * 0.2 * 1e-3
    torch.testing.assert_close(made._rescaled(gradient), expected)
    assert torch.equal(model(normalise=False)._rescaled(gradient), gradient)
    made.fit(x, 1, 32, "adam", 0.01, seed=0)
    assert not made.layer.weight._backward_hooks


@pytest.mark.parametrize("init", ["random", "kmeans++", "kmeans"])
def test_every_start_gives_unit_centres_that_the_seed_decides(init):
    made, x = model(), images()
    made.start(x, init, seed=1)
    first = made.layer.centres().detach().clone()
    torch.testing.assert_close(first.norm(dim=1), torch.ones(3))
    made.start(x, init, seed=1)
    assert torch.equal(first, made.layer.centres().detach())
    z = made.features(x)
    if init == "kmeans++":
        assert torch.cdist(first, z).min(1).values.max() < 1e-3
    if init == "kmeans":
        best = KMeans(3, n_init=10, random_state=0).fit(z.numpy())
        assert float(made.layer.loss(z).detach()) <= 1.05 * best.inertia_ / len(z) + 1e-3


def test_soft_assignments_and_streams_act_on_the_features():
    made, x = model(), images()
    z = made.features(x)
    expected = (-3.0 * torch.cdist(z, made.layer.centres().detach()).square()).softmax(1)
    torch.testing.assert_close(made.soft(x, 3.0).detach(), expected, rtol=1e-4, atol=1e-6)
    by_hand = ClusterLayer(4, 3)
    by_hand.set_centres(made.layer.centres().detach())
    by_hand.partial_fit(z)
    made.partial_fit(x)
    torch.testing.assert_close(made.layer.weight, by_hand.weight)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: model().fit(images()[:2], 1), "there are 2 rows for 3 clusters"),
        (lambda: model().fit(images() * float("nan"), 1), "NaN or infinite"),
        (lambda: model().fit(torch.ones(9, 8), 1), "all columns are constant"),
        (lambda: fit_layer(layer(draws(3, 4)), torch.ones(9, 4).double(), 1, 3, 0), "all columns are constant"),
        (lambda: layer(draws(3, 4), True).assign(torch.zeros(2, 4).double()), "length 0 and cannot be normalised"),
        (lambda: conv_autoencoder(1, 30), "side is 30"),
        (lambda: conv_autoencoder(1, 4), "side is 4"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_multilayer_autoencoder_has_the_authors_layers():
    encoder, decoder = mlp_autoencoder(784)
    kinds = [type(m).__name__ for m in encoder]
    assert kinds == ["Dropout", "Linear", "ReLU"] * 3 + ["Dropout", "Linear"]
    assert [m.out_features for m in encoder if isinstance(m, nn.Linear)] == [500, 500, 2000, 10]
    assert [type(m).__name__ for m in decoder] == ["Linear", "ReLU"] * 3 + ["Linear", "Sigmoid"]
    assert [m.out_features for m in decoder if isinstance(m, nn.Linear)] == [2000, 500, 500, 784]
    assert encoder[0].p == 0.2
    other, _ = mlp_autoencoder(784, seed=1)
    assert not torch.equal(other[1].weight, encoder[1].weight)


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 28)])
def test_the_convolutional_autoencoder_gives_back_the_shape_it_takes(channels, side):
    encoder, decoder = conv_autoencoder(channels, side, latent=7)
    x = torch.rand(2, channels, side, side)
    assert encoder(x).shape == (2, 7)
    assert decoder(encoder(x)).shape == x.shape
    assert [m.out_channels for m in encoder if isinstance(m, nn.Conv2d)] == [16, 32, 32, 16]


def test_soft_assignments_and_their_targets_are_those_of_dec_by_hand():
    z, w = draws(6, 3), draws(2, 3, seed=1)
    q, p = student_t(z, w), targets(student_t(z, w))
    for i in range(6):
        kernel = [1 / (1 + float(((z[i] - c) ** 2).sum())) for c in w]
        assert q[i].tolist() == pytest.approx([v / sum(kernel) for v in kernel])
        sharp = [float(q[i, j] ** 2 / q[:, j].sum()) for j in range(2)]
        assert p[i].tolist() == pytest.approx([v / sum(sharp) for v in sharp])


def test_idec_starts_at_k_means_and_lowers_its_loss():
    from winnow.train.idec import _Targets

    x = images()
    made = Idec(*mlp_autoencoder(8, [16], 4, 0.0, seed=1), latent=4, clusters=3)
    made.start(x, seed=0)
    best = KMeans(3, n_init=10, random_state=0).fit(made.features(x).numpy())
    objective = float(torch.cdist(made.features(x), made.centres).min(1).values.square().sum())
    assert objective <= 1.02 * best.inertia_ + 1e-4
    p = targets(student_t(made.features(x), made.centres)).detach()
    z = made.features(x)
    q = student_t(z, made.centres)
    expected = F.mse_loss(made.decoder(z), x) + 0.1 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(_Targets(made, x).loss(made, (x, p)), expected)
    history = made.fit(x, 15, 32, 0.01, seed=0)
    losses = [value for metric, value, _ in history if metric == "loss"]
    assert losses[-1] < losses[0]
    assert made.predict(x).shape == (96,)


def test_adams_first_step_moves_centres_by_its_rate_in_the_units_of_centres():
    made, x = model("none", normalise=False, weight=1.0), images()
    before = made.layer.centres().detach().clone()
    made.fit(x, 1, len(x), "adam", 0.01, seed=0)
    moved = (made.layer.centres().detach() - before).abs()
    # Adam's first step is its rate in every coordinate, whatever the gradient.
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-2, atol=0)
