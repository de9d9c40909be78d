"""Reruns follow meaning: what is made again after a change, counted job by job."""

import os
import random
import shutil
from collections import Counter
from pathlib import Path

HELPER = "winnow/compress/_measure.py"  # prune.py imports winnow.compress, and the measures beside it
LEAF = "winnow/compress/_masking.py"  # two imports away from the stage that prunes


def shuffle_times(root: Path) -> None:
    files = sorted(p for p in root.rglob("*") if p.is_file() and ".git" not in p.parts)
    generator = random.Random(0)
    for path in files:
        moment = generator.uniform(1e9, 1.7e9)
        os.utime(path, (moment, moment))


def test_after_a_run_there_is_nothing_to_do(built):
    assert built.snakemake("-n") == Counter()


def test_an_edited_sparsity_reruns_no_curation_and_no_training(checkout):
    checkout.edit(
        "scales/smoke.yaml",
        "magnitude: {models: [mlp], sparsities: [0.8, 0.95]",
        "magnitude: {models: [mlp], sparsities: [0.8, 0.97]",
    )
    jobs = checkout.snakemake("-n")
    assert jobs["prune"] == 2 and jobs["fit_sparse_autoencoder"] == 2  # the new sparsity, two seeds
    assert not {"acquire", "curate_images", "train_adamw", "pruning_criteria", "dictionary_pareto"} & set(jobs)


def test_an_edited_training_parameter_reruns_that_model_and_what_follows(checkout):
    checkout.edit("scales/smoke.yaml", "depthwise_cnn: {epochs: 1}", "depthwise_cnn: {epochs: 2}")
    jobs = checkout.snakemake("-n")
    assert jobs["train_adamw"] == 2 and jobs["pruning_criteria"] == 1
    assert not {"acquire", "curate_images", "prune", "fit_sparse_autoencoder", "dictionary_pareto"} & set(jobs)


def test_a_parameter_of_evaluation_reruns_only_evaluation(checkout):
    checkout.edit(
        "params.yaml",
        "survival: {dictionary: topk, dense: mlp}",
        "survival: {dictionary: topk, dense: mlp, chance_quantile: 0.95}",
    )
    assert set(checkout.snakemake("-n")) == {"feature_survival", "plot", "claims", "summarise"}


def test_a_helper_two_imports_away_reruns_exactly_its_dependents(checkout):
    path = checkout.path / LEAF
    path.write_text(path.read_text() + "\nCHANGED = 1\n")
    jobs = checkout.snakemake("-n")
    assert jobs["prune"] == 4 and jobs["pruning_criteria"] == 2
    assert not {"acquire", "curate_images", "train_adamw", "planted_dictionaries", "dictionary_pareto"} & set(jobs)


def test_comments_docstrings_and_format_rerun_nothing(checkout):
    for name, old, new in (
        (
            LEAF,
            "\nfrom __future__ import annotations\n",
            "\n\n# a comment\nfrom __future__ import annotations\n\n\n",
        ),
        (
            HELPER,
            '"""',
            '"""Another word. ',
        ),
        ("stages/compress/prune.py", "@stage(torch=True)", "@stage(\n    torch=True,  # a comment\n)"),
        ("stages/compress/rules.smk", "rule prune:\n", "# a comment\nrule prune:\n"),
        (
            "stages/compress/rules.smk",
            'settings=flow.settings("compress"),',
            "settings=flow.settings('compress',),",
        ),
    ):
        path = checkout.path / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
    assert checkout.snakemake("-n") == Counter()


def test_touching_code_reruns_nothing(checkout):
    for folder in ("winnow", "stages"):
        for path in (checkout.path / folder).rglob("*.*"):
            path.touch()
    (checkout.path / "Snakefile").touch()
    assert checkout.snakemake("-n") == Counter()


def test_without_snakemakes_records_and_with_shuffled_times_nothing_is_to_do_and_edits_still_count(checkout):
    shutil.rmtree(checkout.path / ".snakemake")
    shuffle_times(checkout.path)
    assert checkout.snakemake("-n") == Counter()
    checkout.edit("scales/smoke.yaml", "depthwise_cnn: {epochs: 1}", "depthwise_cnn: {epochs: 2}")
    jobs = checkout.snakemake("-n")
    assert jobs["train_adamw"] == 2
    assert not {"curate_images", "prune"} & set(jobs)


def test_wrong_bytes_are_made_again_and_never_blessed(checkout):
    model = checkout.path / "results/digits/train/mlp/seed0/model.safetensors"
    right = model.read_bytes()
    status = model.stat()
    model.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert checkout.snakemake("-n")["train_adamw"] == 1
    checkout.run("snakemake", "--touch")
    assert checkout.snakemake("-n")["train_adamw"] == 1
    checkout.snakemake()
    assert model.read_bytes() == right
    assert checkout.snakemake("-n") == Counter()


def test_an_output_of_unknown_origin_is_not_taken_for_a_result(checkout):
    for path in (checkout.path / ".snakemake", checkout.path / "provenance.lock"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert checkout.snakemake("-n")["train_adamw"] == 5


def test_a_parameter_switched_back_restores_from_the_cache(checkout):
    before = {p: p.read_bytes() for p in (checkout.path / "results").rglob("*") if p.is_file()}
    checkout.edit("scales/smoke.yaml", "depthwise_cnn: {epochs: 1}", "depthwise_cnn: {epochs: 2}")
    checkout.snakemake("digits_train")
    checkout.edit("scales/smoke.yaml", "depthwise_cnn: {epochs: 2}", "depthwise_cnn: {epochs: 1}")
    assert checkout.snakemake("digits_train")["train_adamw"] == 2
    logs = sorted((checkout.path / "logs/digits/train/depthwise_cnn").glob("*.log"))
    assert logs and all("taken from the cache" in log.read_text() for log in logs)
    assert checkout.snakemake("-n") == Counter()
    assert all(path.read_bytes() == content for path, content in before.items())
