"""A small hooked transformer of the language of names, its documents and a store of its activations."""

import pytest
import torch

from tests.dictionaries.harvesting import harvested
from winnow.dictionaries.harvest import corpus_of
from winnow.models.hooked_transformer import HookedTransformer
from winnow.pipeline.tables import write_parquet
from winnow.workloads.names_language import documents, vocabulary
from winnow.workloads.sequences import SequenceMeta, Sequences


@pytest.fixture(scope="session")
def model():
    torch.manual_seed(0)
    return HookedTransformer(len(vocabulary()), 32, width=8, layers=2, heads=2).eval()


@pytest.fixture(scope="session")
def workload(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curated")
    meta = SequenceMeta(vocabulary(), 32, "algorithmic").encode()
    write_parquet(documents("train", 300, 0), folder / "train.parquet", meta)
    return Sequences(folder)


@pytest.fixture(scope="session")
def store(tmp_path_factory, model, workload):
    return harvested(tmp_path_factory.mktemp("store"), model, corpus_of(workload, "train"))
