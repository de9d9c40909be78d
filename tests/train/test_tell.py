"""The layer and the autoencoder together, by what each epoch may move."""

from copy import deepcopy

import pytest
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from torch.nn import functional as F

from tests.train.clouds import clouds
from winnow.errors import InputError
from winnow.models.autoencoder import mlp_autoencoder
from winnow.randomness import stream_seed, torch_generator
from winnow.train.cluster_layer import ClusterLayer
from winnow.train.tell import Tell


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


@pytest.mark.parametrize("epoch", [0, 1])
def test_in_every_turn_the_value_of_the_loss_is_the_same_sum(epoch):
    from winnow.train.tell import _Clustering

    made, x = model(weight=0.3), images()
    task = _Clustering(made, x, True, None)
    batch = next(iter(task.batches("train", 32, 0, epoch)))
    z = made.encode(batch)
    distances = torch.cdist(z, made.layer.centres()).square().amin(1)
    expected = F.mse_loss(made.decoder(z), batch) + 0.3 * distances.mean()
    torch.testing.assert_close(task.loss(made, batch), expected, rtol=1e-4, atol=1e-5)


def test_what_moved_is_the_share_of_rows_in_another_cluster_than_an_epoch_ago():
    from winnow.train.tell import _Clustering

    made, x = model(), images()
    task, labels = _Clustering(made, x, True, None), made.predict(images())
    assert task.metrics(made, "valid")["moved"] == 0
    made.layer.set_centres(made.layer.centres().detach()[[1, 0, 2]])
    expected = float((labels < 2).double().mean())
    assert 0 < expected < 1 and task.metrics(made, "valid")["moved"] == pytest.approx(expected)
    assert task.metrics(made, "valid")["moved"] == 0
    assert _Clustering(made, x, False, None).metrics(made, "valid")["empty"] == 0


def test_batches_cover_all_rows_in_an_order_of_the_seed_and_the_epoch():
    from winnow.train.tell import _Clustering

    task = _Clustering(model(), images(), True, None)
    orders = {at: torch.cat(list(task.batches("train", 32, *at))) for at in ((0, 0), (1, 0), (0, 1))}
    for rows in orders.values():
        torch.testing.assert_close(rows.sum(0), images().sum(0), rtol=1e-4, atol=1e-4)
    assert torch.equal(orders[0, 0], torch.cat(list(task.batches("train", 32, 0, 0))))
    assert not torch.equal(orders[0, 0], orders[1, 0]) and not torch.equal(orders[0, 0], orders[0, 1])


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


@pytest.mark.parametrize("init", ["kmeans++", "kmeans"])
def test_a_start_is_scikit_learns_by_the_seeds_own_stream(init):
    x = torch.rand(40, 8, generator=torch.Generator().manual_seed(0))  # no clusters, so that each start ends elsewhere
    made = model()
    z, layer = made.features(x).numpy(), deepcopy(made.layer)
    for seed in range(3):
        made.start(x, init, seed=seed)
        state = stream_seed(seed, "tell", init) % 2**32
        expected = (
            KMeans(3, n_init=10, random_state=state).fit(z).cluster_centers_
            if init == "kmeans"
            else kmeans_plusplus(z, 3, random_state=state)[0]
        )
        layer.set_centres(torch.from_numpy(expected))
        assert torch.equal(made.layer.weight, layer.weight)


def test_without_a_seed_or_an_epoch_the_order_is_that_of_the_first():
    from winnow.train.tell import _Clustering

    x = images()
    data = _Clustering(model(), x, True, None)
    first = torch.cat(list(data.batches("train", 10, 0, 0)))
    order = torch.randperm(len(x), generator=torch_generator(0, "tell", "batches", "0"))
    assert torch.equal(first, x[order]) and torch.equal(torch.cat(list(data.batches("train", 10))), first)
    assert not torch.equal(torch.cat(list(data.batches("train", 10, 0, 1))), first)


def test_a_random_start_draws_directions_for_the_centres_and_does_not_look_at_others():
    halves = mlp_autoencoder(8, [16], latent=4, dropout=0.0, seed=1)
    one = Tell(*halves, latent=4, clusters=1)
    one.start(images(), "random", seed=5)
    centre = one.layer.centres().detach()[0]
    assert float(centre.norm()) == pytest.approx(1, abs=1e-6) and centre.abs().std() > 0.05
    many = Tell(*halves, latent=4, clusters=400)
    many.start(images(400), "random", seed=5)
    # Directions over the whole sphere: means of 0 and squares of a quarter each.
    centres = many.layer.centres().detach()
    assert centres.mean(0).abs().max() < 5 * 0.5 / 400**0.5
    assert (centres.square().mean(0) - 0.25).abs().max() < 0.07


def test_unless_told_it_is_trained_as_the_authors_do():
    x = images(300)
    halves = mlp_autoencoder(8, [16], latent=4, dropout=0.0, seed=1)
    made = Tell(*halves, latent=4, clusters=3)
    assert (made.weight, made.alternate, made.layer.alpha, made.layer.normalise) == (0.01, "epoch", 1e-3, True)
    made.start(x, "kmeans++", seed=0)
    told = deepcopy(made)
    made.fit(x, 2)
    told.fit(x, 2, 256, "adadelta", 1.0, clustering=True, seed=0)
    assert not moved(state(made), told)


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
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_adams_first_step_moves_centres_by_its_rate_in_the_units_of_centres():
    made, x = model("none", normalise=False, weight=1.0), images()
    before = made.layer.centres().detach().clone()
    made.fit(x, 1, len(x), "adam", 0.01, seed=0)
    moved = (made.layer.centres().detach() - before).abs()
    # Adam's first step is its rate in every coordinate, whatever the gradient.
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-2, atol=0)
