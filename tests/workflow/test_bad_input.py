"""Bad input ends in one clear line and a failure, and leaves nothing half-written."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.workflow.conftest import ROOT
from winnow.errors import InputError
from winnow.pipeline.workflow import Workflow

MODEL = "results/digits/train/mlp/seed0/model.safetensors"
DICTIONARY = "results/digits/dictionaries/topk-on-mlp/seed0/dictionary.safetensors"
RAW = "data/raw/digits.parquet"


def edit(name, old, new):
    def change(root: Path):
        path = root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def cut(name, keep=0.5):
    def change(root: Path):
        path = root / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])

    return change


def card(**fields):
    def change(root: Path):
        path = (root / MODEL).with_suffix(".json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


def column(**changes):
    """The raw table with columns replaced by what a function makes of them; None drops one."""

    def change(root: Path):
        table = pq.ParquetFile(root / RAW).read()
        for name, make in changes.items():
            index = table.schema.get_field_index(name)
            if make is None:
                table = table.drop_columns([name])
            else:
                table = table.set_column(index, name, make(table[name]))
        pq.write_table(table, root / RAW)

    return change


def absent(name):
    return lambda root: (root / name).unlink()


BEFORE_THE_GRAPH = [
    ("unknown key", edit("params.yaml", "near_duplicate_distance", "near_duplicate_distanc"), "did you mean near_dup"),
    ("doubled key", edit("params.yaml", "  kind: images\n", "  kind: images\n  kind: images\n"), "duplicate key"),
    ("wrong type", edit("params.yaml", "torch_threads: 1", "torch_threads: one"), 'torch_threads: is "one"'),
    ("out of range", edit("params.yaml", "fractions: [0.7, 0.1, 0.2]", "fractions: [0.7, 0.1, 1.2]"), "fractions"),
    ("not whole", edit("params.yaml", "fractions: [0.7, 0.1, 0.2]", "fractions: [0.7, 0.1, 0.1]"), "add up to 0.9"),
    ("empty list", edit("scales/smoke.yaml", "seeds: [0, 1]", "seeds: []"), "digits.seeds: is []"),
    ("unknown scale", edit("params.yaml", "scale: smoke", "scale: tiny"), "'tiny' is none of smoke, laptop, paper"),
    ("unknown source", edit("params.yaml", "source: mnist_5k", "source: mnist_6k"), "mnist_6k"),
    ("source of another kind", edit("params.yaml", "source: mnist_5k", "source: ml_100k"),
     "digits: source 'ml_100k' holds interactions and is read as images; name one of fashion_mnist, mnist_5k"),
    ("weights as a source", edit("params.yaml", "source: mnist_5k", "source: efficientnet_lite0"),
     "digits: source 'efficientnet_lite0' holds weights and is read as images"),
    ("unknown model", edit("params.yaml", "mlp: {model: mlp, epochs: 10", "mlp: {model: mpl, epochs: 10"), '"mpl"'),
    ("k of width", edit("scales/smoke.yaml", "      width: 128\n", "      width: 3\n"), "k is 4, not below width 3"),
    ("no such variant", edit("params.yaml", "survival: {dictionary: topk", "survival: {dictionary: topkk"), "topkk"),
    ("model argument", edit("params.yaml", "arguments: {channels:", "arguments: {chanels:"), "did you mean channels?"),
    ("recourse budget", edit("scales/smoke.yaml", "budgets: [0.05], roar", "budgets: [0.6], roar"),
     "budgets.0: is 0.6"),
    ("recourse column", edit("params.yaml", "{favourable: benign}", "{favourable: benign, imutable: [a]}"),
     "did you mean immutable"),
    ("explained model", edit("params.yaml", "{models: [mlp, tanh]}", "{models: [mlp, tahn]}"), "tahn"),
    ("one cluster", edit("scales/smoke.yaml", "tell: {hidden: [32]", "tell: {clusters: 1, hidden: [32]"),
     "clusters: is 1"),
    ("margin of one", edit("scales/smoke.yaml", "margins: [0.1]", "margins: [1.0]"), "margins.0: is 1"),
    ("uneven tuning", edit("scales/smoke.yaml", "rate_factors: [1.0]", "rate_factors: [1.0, 2.0]"), "differ in length"),
    ("small vocabulary", edit("scales/smoke.yaml", "vocabulary: 300", "vocabulary: 200"), "vocabulary: is 200"),
    ("size not made", edit("scales/smoke.yaml", "model_size: 300", "model_size: 301"), "model_size is 301, none of"),
    ("unknown signal", edit("scales/smoke.yaml", "opencoder: {", "opencoder: {thresholds: {wrods: [1, 2]}, "),
     "wrods is no signal"),
    ("broken YAML", edit("params.yaml", "kind: images", "kind: [images"), "not valid YAML"),
    ("broken scale", edit("scales/smoke.yaml", "digits:", "digits: }"), "scales/smoke.yaml: not valid YAML"),
    ("absent params", absent("params.yaml"), "params.yaml: no such file"),
    ("sources field", edit("data/sources.yaml", "  sha256: 71", "  sha255: 71"), "sha25"),
    ("sources hash", edit("data/sources.yaml", "sha256: 71b9", "sha256: 71"), "sha256"),
]  # fmt: skip

IN_A_JOB = [
    ("hash", edit("data/sources.yaml", "sha256: 71b9", "sha256: 81b9"), "digits_curate", "acquire", "sha256"),
    ("member", edit("data/sources.yaml", "mnist_5k.csv.gz", "mnist_6k.csv.gz"),
     "digits_curate", "acquire", "mnist_6k.csv.gz"),
    ("claims key", edit("claims.yaml", "  statement:", "  statment:"), "results/claims.parquet", "claims", "statment"),
    ("claims YAML", edit("claims.yaml", "- id:", "- id: ["), "results/claims.parquet", "claims", "claims.yaml"),
    ("absent hook", edit("params.yaml", "      hook: relu2", "      hook: relu9"), DICTIONARY, "fit_sparse", "relu9"),
]  # fmt: skip

IN_A_FUNCTION = [
    ("no pixels", column(pixels=None), "curate", "no column 'pixels'"),
    ("no label column", column(label=None), "curate", "no column 'label'"),
    ("labels as text", column(label=lambda c: c.cast(pa.string())), "curate", "column 'label' is string"),
    ("label out of range", column(label=lambda c: pa.chunked_array([pa.array([99] * len(c), pa.int32())])),
     "curate", "99"),
    ("rows repeat", column(row=lambda c: pa.chunked_array([pa.array([1] * len(c), pa.int64())])), "curate", "row"),
    ("raw cut off", cut(RAW), "curate", "not a readable parquet"),
    ("raw empty", cut(RAW, 0), "curate", "not a readable parquet"),
    ("no rows", lambda root: pq.write_table(pq.ParquetFile(root / RAW).read().slice(0, 0), root / RAW),
     "curate", "no rows"),
    ("model cut off", cut(MODEL), "model", "damaged"),
    ("model empty", cut(MODEL, 0), "model", "damaged"),
    ("model absent", absent(MODEL), "model", "no such file"),
    ("card absent", absent(MODEL.replace(".safetensors", ".json")), "model", "no such file"),
    ("card of another", card(arguments={"in_channels": 1, "height": 28, "width": 28, "classes": 9, "hidden": [5]}),
     "model", "does not hold"),
    ("card unknown", card(model="mpl"), "model", "did you mean mlp"),
    ("card type", card(arguments=[]), "model", "wrong type"),
    ("dictionary cut off", cut(DICTIONARY), "dictionary", "dictionary.safetensors"),
    ("dictionary absent", absent(DICTIONARY), "dictionary", "dictionary.safetensors"),
    ("dictionary card", cut(DICTIONARY.replace(".safetensors", ".json"), 0.3), "dictionary", "dictionary.json"),
    ("split cut off", cut("results/digits/curate/all/seed0/train.parquet"), "workload", "not a readable parquet"),
    ("split absent", absent("results/digits/curate/all/seed0/train.parquet"), "workload", "no such file"),
]  # fmt: skip


# One for each way from a fault to the line: a setting, a file that does not parse or is not there, and what is read
# when the targets and when the graph are made.
END_TO_END = [
    case
    for case in BEFORE_THE_GRAPH
    if case[0] in {"unknown key", "broken scale", "absent params", "source of another kind", "sources hash"}
]


@pytest.mark.parametrize(("name", "spoil", "expected"), BEFORE_THE_GRAPH, ids=[c[0] for c in BEFORE_THE_GRAPH])
def test_it_is_refused_before_a_job_is_known(tmp_path, monkeypatch, name, spoil, expected):
    for file in ("params.yaml", "scales/smoke.yaml", "data/sources.yaml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / file, tmp_path / file)
    edit("params.yaml", "scale: laptop", "scale: smoke")(tmp_path)
    spoil(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        flow = Workflow(tmp_path, {}, list)
        flow.targets(default=True)
        flow.source(SimpleNamespace(workload="digits"))
    assert len([line for line in str(caught.value).splitlines() if expected in line]) == 1


@pytest.mark.parametrize(("name", "spoil", "expected"), END_TO_END, ids=[c[0] for c in END_TO_END])
def test_snakemake_ends_with_the_line_before_anything_is_planned(sources_only, name, spoil, expected):
    spoil(sources_only.path)
    done = sources_only.run("snakemake", "-n", check=False)
    assert done.returncode != 0
    said = [line for line in (done.stdout + done.stderr).splitlines() if expected in line]
    assert len(said) == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "spoil", "target", "rule", "expected"), IN_A_JOB, ids=[c[0] for c in IN_A_JOB])
def test_a_job_ends_with_one_line_and_leaves_nothing_half_written(checkout, name, spoil, target, rule, expected):
    spoil(checkout.path)
    done = checkout.run("snakemake", target, check=False)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith(rule) and expected in line]
    assert said, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert not list((checkout.path / "results").rglob(".partial-*"))


@pytest.mark.parametrize(("name", "spoil", "what", "expected"), IN_A_FUNCTION, ids=[c[0] for c in IN_A_FUNCTION])
def test_a_bad_file_is_named_with_its_fault(built, tmp_path, name, spoil, what, expected):
    from winnow.curate.images import curate_images
    from winnow.dictionaries.dictionary import load
    from winnow.models import load_model
    from winnow.pipeline.tables import read_parquet
    from winnow.workloads import load_workload

    for folder in ("results/digits/train/mlp/seed0", "results/digits/dictionaries/topk-on-mlp/seed0",
                   "results/digits/curate/all/seed0", "data/raw"):  # fmt: skip
        shutil.copytree(built.path / folder, tmp_path / folder)
    spoil(tmp_path)
    readers = {
        "curate": lambda: curate_images(read_parquet(tmp_path / RAW), workload="digits"),
        "model": lambda: load_model(tmp_path / MODEL),
        "dictionary": lambda: load(tmp_path / DICTIONARY),
        "workload": lambda: load_workload(tmp_path / "results/digits/curate/all/seed0").arrays("train"),
    }
    with pytest.raises(InputError) as caught:
        readers[what]()
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
