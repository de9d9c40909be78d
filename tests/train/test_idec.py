"""IDEC's soft assignments by hand, its start at k-means, and its loss in parts."""

import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional as F

from tests.train.clouds import clouds, draws
from winnow.models.autoencoder import mlp_autoencoder
from winnow.train.idec import Idec, _Targets, student_t, targets


def images(n=96, d=8, seed=0):
    return torch.sigmoid(clouds(seed, n, d)).float()


def idec(**options):
    return Idec(*mlp_autoencoder(8, [16], 4, 0.0, seed=1), latent=4, clusters=3, **options)


def test_soft_assignments_and_their_targets_are_those_of_dec_by_hand():
    z, w = draws(6, 3), draws(2, 3, seed=1)
    q, p = student_t(z, w), targets(student_t(z, w))
    for i in range(6):
        kernel = [1 / (1 + float(((z[i] - c) ** 2).sum())) for c in w]
        assert q[i].tolist() == pytest.approx([v / sum(kernel) for v in kernel])
        sharp = [float(q[i, j] ** 2 / q[:, j].sum()) for j in range(2)]
        assert p[i].tolist() == pytest.approx([v / sum(sharp) for v in sharp])


def test_idec_starts_at_k_means_and_lowers_its_loss():
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


def test_clusters_are_those_of_the_nearest_centre_and_features_are_taken_in_eval_mode():
    torch.manual_seed(0)
    made = Idec(nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 4)), nn.Linear(4, 8), latent=4, clusters=3).train()
    assert (made.centres == 0).all() and made.weight == 0.1
    x = images(5000)  # more than are encoded at once
    z = made.features(x)
    torch.testing.assert_close(z, made.encoder[1](x).detach(), atol=1e-6, rtol=1e-5)
    assert made.training and not z.requires_grad
    made.start(x, seed=0)
    assert torch.equal(made.predict(x), torch.cdist(z, made.centres).argmin(1)) and made.centres.requires_grad


def test_targets_are_set_anew_before_every_epoch_and_rows_shuffled_by_it():
    made, x = idec(), images(20)
    made.start(x, seed=0)
    data = _Targets(made, x)

    def epoch(*told):
        parts = [torch.cat(part) for part in zip(*data.batches("train", 8, *told), strict=True)]
        return parts[0].tolist(), parts[1]

    assert [len(rows) for rows, _ in data.batches("train", 8, 0, 0)] == [8, 8, 4]
    rows, p = epoch(0, 0)
    assert sorted(rows) == sorted(x.tolist()) and rows != x.tolist()
    order = torch.cdist(torch.tensor(rows), x).argmin(1)
    torch.testing.assert_close(p, targets(student_t(made.features(x), made.centres))[order].detach())
    assert epoch()[0] == rows == epoch(0)[0] and epoch(0, 1)[0] != rows and epoch(1, 0)[0] != rows
    with torch.no_grad():
        made.centres.add_(0.3)
    moved = epoch(0, 0)[1]
    torch.testing.assert_close(moved, targets(student_t(made.features(x), made.centres))[order].detach())
    assert not torch.allclose(moved, p, atol=1e-3)


def test_the_weight_is_of_the_clustering_loss_and_adams_first_step_is_its_rate():
    x = images(24)
    for weight in (0.0, 2.0):
        made = idec(weight=weight)
        made.start(x, seed=0)
        q = student_t(made.features(x), made.centres)
        p = targets(q).detach()
        plain = F.mse_loss(made.decoder(made.encoder(x)), x)
        divergence = (p * (p / q).log()).sum(1).mean()
        torch.testing.assert_close(_Targets(made, x).loss(made, (x, p)), plain + weight * divergence)
    before, told = made.centres.detach().clone(), []
    made.fit(x, 1, 24, 0.01, seed=0, progress=lambda done, total: told.append((done, total)))
    moved = (made.centres.detach() - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-2, atol=0)
    assert told == [(1, 1)]
