"""DVC stores, shares and compares what Snakemake makes, and never leaves a stale result."""

import json
import re
import shutil
from collections import Counter

import pytest
from ruamel.yaml import YAML

EDIT = ("scales/smoke.yaml", "depthwise_cnn: {epochs: 1}", "depthwise_cnn: {epochs: 2}")
STORE = "../remote"


@pytest.fixture(scope="module")
def tracked(built, tmp_path_factory):
    """The built repository with its results in DVC's cache, pushed to a folder beside it, all committed."""
    checkout = built.copy(tmp_path_factory.mktemp("dvc") / "winnow")
    checkout.run("dvc", "repro", "-q")
    checkout.run("dvc", "remote", "add", "-d", "store", STORE)
    checkout.run("dvc", "push", "-q")
    checkout.run("git", "add", "-A")
    checkout.run("git", "commit", "-qm", "results")
    return checkout


@pytest.fixture
def checkout(tracked, tmp_path):
    copy = tracked.copy(tmp_path / "winnow")
    shutil.copytree(tracked.path / STORE, tmp_path / "remote")
    return copy


def outputs_of_rules(checkout) -> set[str]:
    done = checkout.run("snakemake", "-n", "--forceall")
    text = done.stdout + done.stderr
    return {f.strip() for line in re.findall(r"^ +output: (.*)$", text, re.M) for f in line.split(",")}


def resolved_stages(checkout) -> list[dict]:
    code = (
        "import json; from dvc.repo import Repo;"
        "print(json.dumps([{'name': s.addressing, 'outs': [str(o) for o in s.outs],"
        "'params': [p for d in s.deps for p in getattr(d, 'params', [])], 'push': [o.can_push for o in s.outs]}"
        " for s in Repo('.').index.stages]))"
    )
    import sys

    return json.loads(checkout.run(sys.executable, "-c", code).stdout)


def test_every_out_is_made_by_a_rule_and_every_output_belongs_to_an_out(built):
    outputs, stages = outputs_of_rules(built), resolved_stages(built)
    outs = [out for stage in stages for out in stage["outs"]]
    assert outs and outputs
    for out in outs:
        assert any(file == out or file.startswith(f"{out}/") for file in outputs), f"{out} is no rule's output"
    for file in outputs:
        assert any(file == out or file.startswith(f"{out}/") for out in outs), f"{file} is in no out of dvc.yaml"


def test_every_parameter_section_that_the_rules_read_is_declared(built):
    tree = YAML(typ="safe").load((built.path / "params.yaml").read_text())
    declared = {name for stage in resolved_stages(built) for name in stage["params"]}
    for workload, section in tree.items():
        if not isinstance(section, dict) or section.get("optional"):
            continue
        for key in section:
            if key != "kind":
                assert {workload, f"{workload}.{key}"} & declared, f"{workload}.{key} is read, not declared in dvc.yaml"
    assert {"scale", "torch_threads"} <= declared


def test_data_that_may_not_be_passed_on_is_never_pushed(built):
    sources = YAML(typ="safe").load((built.path / "data/sources.yaml").read_text())
    params = YAML(typ="safe").load((built.path / "params.yaml").read_text())
    for stage in resolved_stages(built):
        workload = next((w for w in params if any(f"/{w}" in out for out in stage["outs"])), None)
        source = (params.get(workload) or {}).get("source") if workload else None
        if source and not sources[source]["redistribute"]:
            assert not any(stage["push"]), f"{stage['name']} would push {source}"


def test_reproducing_again_does_nothing(tracked):
    done = tracked.run("dvc", "repro")
    assert "Running stage" not in done.stdout
    assert tracked.snakemake("-n") == Counter()


def test_a_clone_pulls_its_results_and_has_nothing_to_do(checkout, tmp_path):
    checkout.run("git", "clone", "-q", str(checkout.path), str(tmp_path / "clone"))
    clone = type(checkout)(tmp_path / "clone")
    clone.run("dvc", "pull", "-q")
    assert (clone.path / "results/digits/train/mlp/seed0/model.safetensors").stat().st_size > 1_000_000
    assert clone.snakemake("-n") == Counter()
    clone.edit(*EDIT)
    jobs = clone.snakemake("-n")
    assert jobs["train_adamw"] == 2
    assert not {"curate_images", "prune", "fit_sparse_autoencoder"} & set(jobs)


def test_an_edit_is_reproduced_by_the_jobs_it_touches_and_leaves_nothing_stale(checkout):
    checkout.edit(*EDIT)
    done = checkout.run("dvc", "repro")
    assert len(re.findall(r"^rule train_adamw:|^localrule train_adamw:", done.stdout + done.stderr, re.M)) == 2
    assert checkout.snakemake("-n") == Counter()
    difference = json.loads(checkout.run("dvc", "metrics", "diff", "--json").stdout)
    assert any("depthwise_cnn" in key for changed in difference.values() for key in changed)
    assert "plots" in checkout.run("dvc", "plots", "diff", "--out", "dvc_plots").stdout
    # Results that are checked out of an earlier commit are known for what they are.
    checkout.run("git", "commit", "-qam", "later")
    checkout.run("git", "checkout", "-q", "HEAD~1")
    checkout.run("dvc", "checkout", "-q")
    assert checkout.snakemake("-n") == Counter()


@pytest.mark.parametrize("temporary", [False, True])
def test_an_experiment_changes_its_own_results_only(checkout, temporary):
    lock = (checkout.path / "dvc.lock").read_text()
    flags = ["--temp"] if temporary else []
    before = (checkout.path / "results/digits/evaluate/survival/metrics.parquet").read_bytes()
    checkout.run("dvc", "exp", "run", *flags, "-q", "-S", "+digits.evaluate.survival.chance_quantile=0.625")
    shown = checkout.run("dvc", "exp", "show", "--csv").stdout
    assert "0.625" in shown
    made = (checkout.path / "results/digits/evaluate/survival/metrics.parquet").read_bytes()
    assert (made == before) == temporary
    if temporary:
        assert (checkout.path / "dvc.lock").read_text() == lock
    assert checkout.snakemake("-n") == Counter()
