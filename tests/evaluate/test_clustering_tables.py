"""Rows for the eye: each input with its cluster, each centre decoded and as the input that is nearest to it."""

from functools import partial

import numpy as np
import torch

from winnow.evaluate.clustering_tables import centre_rows, label_rows
from winnow.models.autoencoder import mlp_autoencoder
from winnow.train.tell import Tell
from winnow.workloads.unit_interval import as_columns, as_images


def test_labels_carry_the_distance_and_the_margin_and_centres_their_image():
    x = torch.rand(24, 6, generator=torch.Generator().manual_seed(0))
    model = Tell(*mlp_autoencoder(6, [8], latent=4, dropout=0.0, seed=1), latent=4, clusters=3)
    model.start(x, "kmeans++", seed=0)
    y = np.arange(24) % 3
    rows = label_rows(model, x, y, ["a", "b", "c"]).to_pylist()
    far = torch.cdist(model.features(x), model.layer.centres().detach())
    for i, row in enumerate(rows):
        near = sorted(far[i].tolist())
        assert (row["image_id"], row["class"], row["cluster"]) == (i, "abc"[i % 3], int(far[i].argmin()))
        assert np.isclose(row["distance"], near[0], atol=1e-4)
        assert np.isclose(row["margin"], near[1] - near[0], atol=1e-3)
    images = centre_rows(model, x, partial(as_images, shape=(1, 2, 3))).to_pylist()
    assert [(r["kind"], r["cluster"]) for r in images] == [(k, c) for k in ("centre", "nearest") for c in range(3)]
    nearest = x[int(far[:, 1].argmin())]
    assert images[4]["pixels"] == (255 * nearest).round().int().tolist()
    decoded = model.decoder(model.layer.centres())[2].detach()
    assert images[2]["pixels"] == (255 * decoded).round().int().tolist()
    assert (images[0]["height"], images[0]["width"], images[0]["channels"]) == (2, 3, 1)
    columns = centre_rows(model, x, partial(as_columns, names="abcdef")).to_pylist()
    mine = [r["value"] for r in columns if (r["kind"], r["cluster"]) == ("nearest", 1)]
    assert mine == nearest.tolist() and [r["column"] for r in columns[:6]] == list("abcdef")


def test_decoding_leaves_the_model_in_its_mode_and_looks_at_it_in_eval_mode():
    x = torch.rand(12, 6, generator=torch.Generator().manual_seed(0))
    encoder, decoder = mlp_autoencoder(6, [8], latent=4, dropout=0.5, seed=1)
    model = Tell(encoder, decoder, latent=4, clusters=3).train()
    model.start(x, "kmeans++", seed=0)
    show = partial(as_columns, names="abcdef")
    model.train()
    first, again = (centre_rows(model, x, show) for _ in range(2))
    assert first == again and model.training
    assert label_rows(model, x, np.zeros(12, int), ["a"]) == label_rows(model, x, np.zeros(12, int), ["a"])
