"""What rules are told: settings without those of siblings, files that somebody makes, targets that hang together."""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from winnow.errors import InputError
from winnow.pipeline import workflow
from winnow.pipeline.settings import matching
from winnow.pipeline.workflow import FAMILIES, LEDGER, STORE_FILES, Workflow

ROOT = Path(__file__).parents[2]


def a_flow(requested=list, **overrides):
    return Workflow(ROOT, {"scale": "smoke"} | overrides, requested)


@pytest.fixture(scope="module")
def flow():
    return a_flow()


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A folder in which nothing was made yet."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def job(**wildcards):
    return SimpleNamespace(**wildcards)


def test_jobs_import_from_the_checkout_and_know_whose_they_are(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.delenv("WINNOW_PARENT", raising=False)
    workflow.prepare_jobs("/here")
    assert os.environ["PYTHONPATH"] == f"/here{os.pathsep}/elsewhere"
    assert os.environ["WINNOW_PARENT"] == str(os.getpid())
    monkeypatch.delenv("PYTHONPATH")
    workflow.prepare_jobs("/here")
    assert os.environ["PYTHONPATH"] == "/here"  # an empty entry would be the folder of the moment


def test_a_job_of_a_seed_is_not_told_the_other_seeds(flow):
    of = flow.settings("train", "mlp")
    alone, all_of_them = of(job(workload="digits", seed="1")), of(job(workload="digits"))
    assert all_of_them["seeds"] == [0, 1] and "seeds" not in alone
    assert {**alone, "seeds": [0, 1]} == all_of_them and alone["torch_threads"] == flow.general.torch_threads
    assert flow.settings("train")(job(workload="digits", variant="mlp", seed="1")) == alone
    # So that a further seed reruns none of those that were made.
    more = a_flow(digits={"train": {"mlp": {"seeds": [0, 1, 7]}}})
    assert more.settings("train", "mlp")(job(workload="digits", seed="1")) == alone


def test_curation_is_told_what_it_asks_for_alone(flow):
    of = flow.curation("fractions")
    assert set(of(job(workload="digits", seed="0"))) == {"fractions", "torch_threads"}


@pytest.mark.parametrize(
    "ask",
    [
        lambda flow: flow.settings("train", "mpl")(job(workload="digits", seed="0")),
        lambda flow: flow.tables("train", "metrics.parquet")(job(workload="digits", variant="mpl")),
        lambda flow: flow.model("train", "mpl")(job(workload="digits", seed="0")),
    ],
)
def test_a_variant_that_there_is_not_is_named(flow, ask):
    with pytest.raises(InputError, match=r"params\.yaml: digits has no train variant 'mpl'; add it or ask for another"):
        ask(flow)


def test_models_lie_in_the_family_that_makes_them(flow):
    assert flow.model_path("digits", "mlp", 3) == "results/digits/train/mlp/seed3/model.safetensors"
    pruned = next(iter(flow.variants["digits"]["compress"]))
    assert flow.model_path("digits", pruned, 0) == f"results/digits/compress/{pruned}/seed0/model.safetensors"
    wildcards = job(workload="digits", seed="1")
    assert flow.card("evaluate", "bee")(wildcards) == flow.model("evaluate", "bee")(wildcards).replace(
        ".safetensors", ".json"
    )
    assert "/seed0/" in flow.model("evaluate", "bee", seed=0)(wildcards)


def test_models_that_a_pattern_names_are_those_that_are_made(flow):
    for workload, variants in flow.variants.items():
        known = [*variants.get("train", {}), *variants.get("compress", {})]
        for name, settings in variants["evaluate"].items():
            if (
                isinstance(settings.get("models"), list)
                and settings["models"]
                and isinstance(settings["models"][0], str)
            ):
                files = flow.models("evaluate", name, "model.json")(job(workload=workload, seed="0"))
                assert [Path(file).parts[3] for file in files] == matching(settings["models"], known)
                assert all(file.endswith("/seed0/model.json") for file in files)


def test_constraints_are_expressions_of_the_names_they_mean_and_match_nothing_where_there_is_none(flow):
    found = flow.workloads_of("images")
    kinds = {name: entry.kind for name, entry in flow.workloads.items()}
    assert [name for name in kinds if re.fullmatch(found, name)] == [n for n, kind in kinds.items() if kind == "images"]
    both = flow.workloads_of("images", "text")
    assert {name for name in kinds if re.fullmatch(both, name)} == {
        n for n, k in kinds.items() if k in ("images", "text")
    }
    for nothing in (flow.workloads_of("sounds"), flow.variants_by("magic"), flow.rendered("caves")):
        assert not any(re.search(nothing, text) for text in ("", "digits", "mlp"))
    methods = {s.method for entry in flow.learnable.values() for s in entry.train.values()}
    for method in methods:
        names = {n for e in flow.learnable.values() for n, s in e.train.items() if s.method == method}
        assert set(flow.variants_by(method).split("|")) == names


def test_files_are_asked_for_by_seed_shard_or_layer(flow):
    tables = flow.tables("train", "metrics.parquet", "mlp")(job(workload="digits"))
    assert tables == [f"results/digits/train/mlp/seed{seed}/metrics.parquet" for seed in (0, 1)]
    shards = flow.shards("kept.parquet")(job(workload="python", seed="0"))
    count = flow.variants["python"]["curate"]["all"]["shards"]
    assert shards == [f"results/python/curate/all/seed0/shards/{i}/kept.parquet" for i in range(count)]
    layers = flow.of_layers("transcoder", "dictionary.safetensors")(job(workload="algorithmic", seed="2"))
    told = flow.variants["algorithmic"]["evaluate"]["transcoder"]["layers"]
    assert layers == [
        f"results/algorithmic/dictionaries/transcoder/layer{i}/seed2/dictionary.safetensors" for i in told
    ]
    seeds = flow.variants["algorithmic"]["evaluate"]["transcoder"]["seeds"]
    drawn = flow.of_layers("transcoder", "features.parquet")(job(workload="algorithmic"))
    assert drawn == [
        f"results/algorithmic/dictionaries/transcoder/layer{i}/seed{s}/features.parquet" for i in told for s in seeds
    ]
    store = flow.activations_of_layer("transcoder", "test")(job(workload="algorithmic", seed="2", layer="1"))
    assert [Path(file).name for file in store] == list(STORE_FILES) and len(set(store)) == len(STORE_FILES)
    assert all("/seed2/blocks.1.ln2.hook_normalized-to-blocks.1.hook_mlp_out/test/" in file for file in store)


def test_every_target_is_named_once_and_belongs_to_its_workload(flow, nowhere):
    whole = flow.targets()
    assert len(whole) == len(set(whole))
    assert set(flow.targets(default=True)) < set(whole)
    named = flow.named_targets()
    for family in FAMILIES:
        assert set(named.get(family, [])) <= set(whole)
    for workload in flow.workloads:
        own = [file for file in whole if file.startswith(f"results/{workload}/")]
        made = [file for files in named.values() for file in files]
        assert set(own) <= set(made)  # whatever there is, some target makes it
        assert set(LEDGER) <= set(named[workload]) and f"summaries/{workload}.json" in named[workload]


def test_what_is_optional_is_left_out_until_it_was_made(flow, nowhere):
    file = "results/digits/evaluate/bee/seed0/metrics.parquet"
    assert file in flow.targets() and file not in flow.targets(default=True)
    assert file in flow.named_targets()["digits_bee"]
    (nowhere / file).parent.mkdir(parents=True)
    (nowhere / file).touch()
    again = a_flow_at(nowhere)
    assert file in again.targets(default=True)


def a_flow_at(folder, requested=list, **overrides):
    """As in a checkout in which files lie."""
    os.chdir(ROOT)
    found = a_flow(requested, **overrides)
    os.chdir(folder)
    return found


def test_the_ledger_reads_what_is_there_or_asked_for(nowhere):
    bee = "results/digits/evaluate/bee/seed0/metrics.parquet"
    # In a job nothing is asked for, and what it needs is there.
    assert a_flow_at(nowhere, lambda: None).claim_metrics(job()) == []
    asked = a_flow_at(nowhere, lambda: ["digits_bee"]).claim_metrics(job())
    assert bee in asked and all("/digits/evaluate/bee/" in file for file in asked)
    assert bee not in a_flow_at(nowhere).claim_metrics(job())  # the default leaves it out
    (nowhere / bee).parent.mkdir(parents=True)
    (nowhere / bee).touch()
    assert a_flow_at(nowhere, lambda: None).claim_metrics(job()) == [bee]


def test_pictures_are_drawn_from_tables_that_are_made_and_others_are_refused(flow):
    made = {f for n in flow.workloads for family in FAMILIES for f in flow.family_targets(n, family)}
    folders = {str(Path(file).parent) for file in made}
    for workload in flow.workloads:
        # Latency is measured where a picture of it is drawn.
        own = folders | {f"results/{workload}/evaluate/latency"}
        for name, tables in flow.plots(workload).items():
            assert flow.plot_tables(job(workload=workload, plot=name)) == tables
            assert {str(Path(table).parent) for table in tables} <= own
    with pytest.raises(InputError, match="digits has no picture 'sped'; it has "):
        flow.plot_tables(job(workload="digits", plot="sped"))


def test_pictures_belong_to_chapters():
    chapters = [Workflow.plot_category(job(plot=name)) for name in ("accuracy", "layers_mlp", "criteria", "survival")]
    assert chapters == ["Models", "Compression", "Gallery", "Dictionaries"]


def test_a_source_of_another_kind_is_refused_with_those_that_fit():
    flow = a_flow(digits={"source": "adult"})
    with pytest.raises(InputError, match="digits: source 'adult' holds table and is read as images; name one of") as e:
        flow.source(job(workload="digits"))
    assert "\n" not in str(e.value)


def test_a_file_of_ones_own_is_told_by_its_content(nowhere):
    (nowhere / "own.csv").write_text("a,y\n1,0\n")
    section = {"kind": "table", "path": "own.csv", "target": "y"}
    flow = a_flow_at(nowhere, mine=section)
    before = flow.source(job(workload="mine"))
    assert (before["kind"], before["path"], before["table"]["target"]) == ("table", "own.csv", "y")
    (nowhere / "own.csv").write_text("a,y\n1,1\n")
    assert flow.source(job(workload="mine"))["digest"] != before["digest"]
    (nowhere / "own.csv").unlink()
    with pytest.raises(InputError, match=r"own\.csv: no such file; correct `path`"):
        flow.source(job(workload="mine"))


def test_names_of_architectures_are_found_however_deep_they_stand():
    assert workflow._named_in({"a": ["mlp", {"b": ("small_cnn", 3, None)}], "mlp_": "other"}) == {"mlp", "small_cnn"}
    assert workflow._named_in({}) == workflow._named_in([]) == set()
