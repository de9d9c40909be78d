"""A small log of walks, a model of it, and a dictionary of its states, for tests of latents of recommenders."""

from types import SimpleNamespace

import pyarrow as pa
import torch

from tests.workloads.interaction_log import walks, workload
from winnow.dictionaries.dictionary import Dictionary
from winnow.evaluate import rec_sae_study

D, LATENTS, K = 8, 24, 3
SETTINGS = SimpleNamespace(
    kinds=["genre", "era", "popularity", "property", "item"],
    frequent_items=6,
    least_items=2,
    rows=400,
    held_out_rows=200,
)


def dictionary(seed=0, k=K, width=LATENTS):
    generator = torch.Generator().manual_seed(seed)
    decoder = torch.nn.functional.normalize(torch.randn(width, D, generator=generator), dim=1)
    return Dictionary(
        W_enc=decoder.T.contiguous(),
        b_enc=torch.zeros(width),
        W_dec=decoder,
        b_dec_in=torch.zeros(D),
        b_dec_out=torch.zeros(D),
        threshold=torch.zeros(width),
        architecture="topk",
        activation="topk",
        k=k,
    )


def catalogue(count=12):
    return pa.table(
        {
            "item": list(range(1, count + 1)),
            "name": [f"i{i}" for i in range(count)],
            "title": [f"film {i}" for i in range(count)],
            "year": pa.array([1980 + i for i in range(count)], pa.int32()),
            "genres": [["Horror"] if i < 4 else ["Comedy"] for i in range(count)],
            "properties": [["by: a"] if i % 3 == 0 else [] for i in range(count)],
            "events": [count - i for i in range(count)],
        }
    )


def people(count=60):
    return pa.table({"user": list(range(count)), "group": (["train"] * 3 + ["valid", "test"]) * (count // 5)})


def walked(folder):
    """The workload of the walks of 60 users."""
    return workload(folder, walks(users=60))


def scene_of(log, settings=SETTINGS, seed=0):
    """What concepts are read from and judged on, of an untrained model."""
    model = log.build("sasrec", d=D, seed=1).eval()
    return rec_sae_study.scene_of(log, model, dictionary(), catalogue(log.items), people(), settings, seed=seed)
