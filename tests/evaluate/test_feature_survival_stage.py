"""The stage that compares dictionaries: what it compares, and that a refit is what it says."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from stages.evaluate.feature_survival import feature_survival
from winnow.curate.images import curate_images
from winnow.dictionaries.dictionary import save
from winnow.dictionaries.on_models import sae_config
from winnow.dictionaries.sae import fit
from winnow.models import build, save_model
from winnow.models.hooks import capture_split
from winnow.pipeline.tables import read_metrics, read_parquet, write_parquet
from winnow.randomness import numpy_generator, stream_seed
from winnow.workloads import load_workload
from winnow.workloads.image_tables import raw_image_table

FIT = SimpleNamespace(
    architecture="topk", k=3, penalty=None, width=24, steps=20, batch_size=32, learning_rate=1e-2, seeds=[0, 1]
)


def dictionary_in(folder, model, workload, dictionary_seed):
    """A dictionary fitted as the stage of dictionaries fits one, saved; its path."""
    fitted, _ = fit(
        capture_split(model, workload, "train", "relu2"), sae_config(FIT.architecture, FIT.k, FIT, seed=dictionary_seed)
    )
    fitted.info.update(hook="relu2", model=folder.parent.name)
    folder.mkdir(parents=True)
    save(fitted, folder / "dictionary.safetensors")
    return folder / "dictionary.safetensors"


@pytest.fixture(scope="module")
def stage_run(tmp_path_factory):
    """The stage's tables for a dense and a pruned model of two seeds.

    The dense dictionary of seed 0 has the seed of the refit, so it must be found again in full; that of seed 1 has not.
    """
    path = tmp_path_factory.mktemp("survival")
    images = numpy_generator(0, "images").integers(0, 256, (200, 8, 8, 1)).astype(np.uint8)
    curated = curate_images(raw_image_table(images, np.arange(200) % 2, [""] * 200, ["a", "b"]), workload="tiny")
    for split, part in curated.tables.items():
        write_parquet(part, path / f"{split}.parquet", curated.metadata)
    workload = load_workload(path)
    dictionaries, models = [], []
    for name in ("mlp", "mlp-magnitude-s80"):
        for seed in (0, 1):
            model = build("mlp", seed=seed, in_channels=1, height=8, width=8, classes=2).eval()
            if name != "mlp":
                model.linear1.weight.data *= model.linear1.weight.abs() > 0.1
            models.append(path / f"{name}{seed}.safetensors")
            save_model(model, models[-1], workload="tiny")
            refit = name == "mlp" and seed == 0
            dictionary_seed = stream_seed(0, "survival", "refit") if refit else seed
            dictionaries.append(dictionary_in(path / name / f"seed{seed}", model, workload, dictionary_seed))
    inputs = SimpleNamespace(dictionaries=dictionaries, models=models, train=path / "train.parquet")
    outputs = SimpleNamespace(metrics=path / "metrics.parquet", features=path / "features.parquet")
    settings = {"workload": "tiny", "dense": "mlp", "fit": FIT, "chance_quantile": 0.9, "torch_threads": 1}
    params = SimpleNamespace(**settings, resume_folder=path)
    feature_survival(inputs, outputs, params, logging.getLogger("test"))
    return read_metrics([outputs.metrics]).to_pylist(), read_parquet(outputs.features).to_pylist()


@pytest.mark.parametrize("by", ["activation", "decoder"])
def test_the_stage_finds_a_dictionary_again_in_the_same_fit_and_less_of_it_in_another_seeds(stage_run, by):
    metrics, features = stage_run
    found = {(r["metric"], r["seed"]): r["value"] for r in metrics if r["system"] == f"matched_by_{by}"}
    assert found["refit_survival", 0] == 1 and found["refit_similarity", 0] == pytest.approx(1, abs=1e-6)
    assert found["refit_similarity", 1] < 0.99 and found["refit_survival", 1] < 1
    rows = [r for r in features if r["variant"] == "refitted" and r["system"] == f"matched_by_{by}"]
    alive = [r for r in rows if r["seed"] == 0 and not r["dead"]]
    assert alive and all(r["match"] == r["feature"] and r["survives"] for r in alive)


def test_the_stage_compares_each_seed_with_pruned_retrained_and_refitted(stage_run):
    shares = {(r["variant"], r["metric"], r["seed"]) for r in stage_run[0] if r["metric"].endswith("survival")}
    named = {"mlp-magnitude-s80": "", "retrained": "retrained_", "refitted": "refit_"}
    assert shares == {
        (variant, f"{prefix}{share}", seed)
        for variant, prefix in named.items()
        for share in ("survival", "chance_survival")
        for seed in (0, 1)
    }
