"""The stage that measures language models: what each of them writes does not hang on a server that dies."""

import json
import logging
from types import SimpleNamespace

import pyarrow as pa
import pytest

from stages.evaluate.language_models import language_models
from tests.evaluate.language_workload import VOCABULARY, write_workload
from tests.models.language_backends import net, small
from tests.models.serving import serving
from winnow.models import save_model
from winnow.pipeline.tables import metric_rows, read_metrics, read_parquet, write_parquet


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the stage with an endpoint, or none; its outputs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    write_workload(tmp_path / "seed0")
    model, history = tmp_path / "net" / "seed0" / "model.safetensors", tmp_path / "history.parquet"
    model.parent.mkdir(parents=True)
    save_model(net("transformer", vocabulary=VOCABULARY), model, "w")
    curve = [("loss", 3.0, 1), ("valid_bits_per_byte", 2.5, 2)]
    write_parquet(metric_rows(curve, system="adamw", workload="w", variant="net", seed=0, split="train"), history)
    inputs = SimpleNamespace(
        train=tmp_path / "seed0" / "train.parquet", models=[model], histories=[history], published=[]
    )
    drawing = {"prompts": ["def ", ""], "samples": 1, "tokens": 4, "temperature": 0.8, "top_p": 0.9, "batches": [1, 2]}

    def ran(name, endpoint):
        (tmp_path / name).mkdir()
        made = {each: tmp_path / name / each for each in ("metrics", "history", "timings", "samples", "backends")}
        params = {"workload": "w", "seed": 0, "orders": [2], "judged_bytes": 100, "endpoint": endpoint} | drawing
        language_models(inputs, SimpleNamespace(**made), SimpleNamespace(**params), logging.getLogger("test"))
        return SimpleNamespace(**made)

    return ran


def test_a_server_that_dies_is_refused_and_the_others_write_the_same(run, caplog):
    def endpoint(model):
        return SimpleNamespace(url=server.url, model=model, key=None, context=512)

    alone = run("alone", None)
    with serving(small(context=512)) as server:
        whole = run("whole", endpoint("whole"))
        # The probes are answered, the chat among them refused, and so is a text that is judged; then it is gone.
        server.planned = [None] * 5 + [(503, b"gone")] * 100
        dead = run("dead", endpoint("dead"))
    expected = read_metrics([alone.metrics])
    refused = {"system": "language_models", "workload": "w", "seed": 0, "variant": "endpoint", "split": "texts"}
    assert read_metrics([dead.metrics]).equals(pa.concat_tables([expected, metric_rows({"refused": 1.0}, **refused)]))
    told = read_metrics([whole.metrics])
    assert told.slice(0, len(expected)).equals(expected)
    assert set(told.slice(len(expected))["variant"].to_pylist()) == {"endpoint"}
    assert read_parquet(dead.samples).equals(read_parquet(alone.samples))
    assert set(read_parquet(whole.samples)["model"].to_pylist()) == {"net", "2-gram", "endpoint"}
    assert set(read_parquet(dead.timings)["variant"].to_pylist()) == {"net", "2-gram"}
    backends = json.loads(dead.backends.read_text())
    assert backends.pop("endpoint").keys() == {"verdict", "why"} and backends == json.loads(alone.backends.read_text())
    assert json.loads(whole.backends.read_text())["endpoint"]["verdict"] == "ok"
    assert "endpoint: is left out: " in caplog.text and "gone" in caplog.text
