"""Compressed models through the one interface: each beside its dense one, bytes by hand, losses in their order."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.evaluate.drawing import drawn
from tests.evaluate.language_workload import CONTEXT, VOCABULARY, document, write_workload
from tests.models.language_backends import net
from winnow.compress.evopress_models import thinned
from winnow.errors import InputError
from winnow.evaluate import language_compression as study
from winnow.evaluate.language_charts import trade
from winnow.models import build, save_model
from winnow.pipeline.tables import metric_rows
from winnow.train.ngram import fit_ngram

CUT = SimpleNamespace(segment=4, group=4)
ORIGINS = {"evopress": "deep", "duo": "net", "caches": "queries"}


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    return write_workload(tmp_path_factory.mktemp("texts") / "seed0")


@pytest.fixture(scope="module")
def found(workload, tmp_path_factory):
    """Name -> artefact, of every kind."""
    folder = tmp_path_factory.mktemp("models")

    def path(name):
        (folder / name).mkdir(exist_ok=True)
        return folder / name / f"{name}.safetensors"

    plain = net("transformer", vocabulary=VOCABULARY)
    save_model(plain, path("net"), "w")
    masks = {n: w.abs() > w.abs().median() for n, w in plain.named_parameters() if n.endswith("up.weight")}
    pruned = net("transformer", vocabulary=VOCABULARY)
    with torch.no_grad():
        for name, mask in masks.items():
            pruned.get_parameter(name).mul_(mask)
    save_model(pruned, path("net-half-s50"), "w", masks=masks)
    save_model(thinned(plain.eval(), (1, 0, 0, 0)), path("depth"), "w")
    save_model(net("multi_query_transformer", vocabulary=VOCABULARY), path("queries"), "w")
    save_model(
        build("routed_transformer", vocabulary=VOCABULARY, width=32, layers=2, big=64, small=8), path("routed"), "w"
    )
    models = {name: path(name) for name in ("net", "net-half-s50")}
    caches = [[16], [16, 8], [16, 2]]
    made = study.artefacts(models, [path("depth")], path("routed"), path("queries"), caches, CUT, ORIGINS)
    return {artefact.name: artefact for artefact in made}


@pytest.fixture(scope="module")
def told(workload, found):
    texts = ["def one_3(x):\n    return x * 3\n"] * 2
    return {name: study.told(workload, artefact, texts, 6) for name, artefact in found.items()}


def test_every_artefact_is_read_beside_the_dense_model_it_came_from(found):
    assert {name: artefact.dense for name, artefact in found.items()} == {
        "net": "net",
        "net-half-s50": "net",
        "evopress depth": "deep",
        "duo, routed": "net",
        "cache 16": "queries",
        "cache 16-8": "queries",
        "cache 16-2": "queries",
    }


def test_what_is_told_is_there_for_every_one(told):
    for metrics, speeds in told.values():
        assert metrics.keys() == {
            "bits_per_byte", "cross_entropy", "bytes_per_token", "bytes", "peak_bytes", "cache_bytes", "parameters",
        }  # fmt: skip
        assert speeds.keys() == {"scored_per_second", "drawn_per_second"} and min(speeds.values()) > 0
        assert np.isfinite(list(metrics.values())).all() and metrics["bits_per_byte"] > 0
    assert len({metrics["bytes_per_token"] for metrics, _ in told.values()}) == 1


def test_bytes_on_disk_are_those_of_both_files(told, found):
    for name, (metrics, _) in told.items():
        path = found[name].path
        assert metrics["bytes"] == path.stat().st_size + path.with_suffix(".json").stat().st_size
    assert told["net-half-s50"][0]["bytes"] < told["net"][0]["bytes"]


def test_parameters_are_the_weights_that_are_not_zero(told, found):
    whole = sum(parameter.numel() for parameter in found["net"].net.parameters())
    gone = sum(int((w == 0).sum()) for w in found["net-half-s50"].net.parameters())
    assert told["net"][0]["parameters"] == whole and gone > 1000
    assert told["net-half-s50"][0]["parameters"] == whole - gone
    assert told["evopress depth"][0]["parameters"] < told["net"][0]["parameters"]
    assert told["cache 16-2"][0]["parameters"] == told["cache 16"][0]["parameters"]


def test_n_grams_are_judged_on_the_same_texts(workload):
    short, long = (study.told_of_ngram(workload, order, [document(99)]) for order in (1, 3))
    assert long["bits_per_byte"] < short["bits_per_byte"] and short.keys() == {
        "bits_per_byte", "cross_entropy", "bytes_per_token", "parameters",
    }  # fmt: skip
    tokens = workload.tokens("train")
    # One for each token that is there, and what the empty history spares.
    assert short["parameters"] == len(set(tokens.tolist())) + 1
    assert fit_ngram(tokens, 3, VOCABULARY).parameters == long["parameters"] > short["parameters"]


def test_bytes_of_a_cache_are_those_of_its_keys_and_values(told):
    tokens = min(study.TRIED, CONTEXT - 1, len("def one_3(x):\n    return x * 3\n"))
    whole = told["net"][0]["cache_bytes"]
    # Two layers, keys and values, of 32 numbers of 32 bits a token.
    assert whole % (2 * 2 * 32 * 4) == 0 and whole / (2 * 2 * 32 * 4) <= tokens + 1
    assert told["evopress depth"][0]["cache_bytes"] == whole / 2
    # One shared head of four, of 16 bits.
    assert told["cache 16"][0]["cache_bytes"] == whole / 8
    sizes = [told[f"cache {levels}"][0]["cache_bytes"] for levels in ("16", "16-8", "16-2")]
    assert sizes[1] > sizes[2]


def test_peak_memory_holds_the_weights_at_least_and_the_cache(told, found):
    for name, (metrics, _) in told.items():
        each = {tensor.data_ptr(): tensor.nbytes for tensor in found[name].net.state_dict().values()}
        assert sum(each.values()) < metrics["peak_bytes"] < sum(each.values()) + 10 * 2**20
    assert told["evopress depth"][0]["peak_bytes"] < told["net"][0]["peak_bytes"]


def test_caches_of_fewer_bits_are_further_from_the_whole(told):
    whole = told["cache 16"][0]["bits_per_byte"]
    apart = [abs(told[f"cache {levels}"][0]["bits_per_byte"] - whole) for levels in ("16-8", "16-2")]
    assert apart[0] < apart[1]


def test_the_trade_is_drawn_with_a_point_for_each_model():
    rows = [
        metric_rows(
            {"bits_per_byte": bits, "bytes": size}, system=dense, workload="w", variant=name, seed=0, split="texts"
        )
        for dense, name, bits, size in (("a", "a", 2.0, 4000), ("a", "a-half-s50", 2.2, 2000), ("b", "b", 2.1, 9000))
    ]
    shown = {row["variant"]: (row["mean"], row["size"], row["system"]) for row in drawn(trade(pa.concat_tables(rows)))}
    assert shown == {"a": (2.0, 4.0, "a"), "a-half-s50": (2.2, 2.0, "a"), "b": (2.1, 9.0, "b")}
    with pytest.raises(InputError, match="models"):
        trade(rows[0].slice(0, 0))
