"""Language models side by side: texts are whole lines, curves are in bits a byte, drawn texts come in pieces."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluate.language_workload import CONTEXT, VOCABULARY, write_workload
from tests.models.gguf_writing import write_gguf
from tests.models.language_backends import net, small
from tests.models.serving import serving
from winnow.errors import InputError
from winnow.evaluate import language_report as report
from winnow.evaluate.language_scores import text_scores
from winnow.models import save_model
from winnow.models.endpoint import EndpointLanguageModel
from winnow.pipeline.tables import metric_rows
from winnow.train.ngram import fit_ngram


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    return write_workload(tmp_path_factory.mktemp("texts") / "seed0")


def ngrams(workload, *orders):
    return {f"{n}-gram": fit_ngram(workload.tokens("train"), n, workload.meta.vocabulary) for n in orders}


def test_models_of_every_back_end_are_opened_and_judged_on_the_same_texts(workload, tmp_path):
    save_model(net("transformer", vocabulary=VOCABULARY), tmp_path / "model.safetensors", "w")
    write_gguf(tmp_path / "tiny.gguf")
    with serving(small(context=4096)) as server:
        endpoint = SimpleNamespace(url=server.url, model="served", key=None, context=512)
        several = (
            {"net": tmp_path / "model.safetensors"},
            ngrams(workload, 2, 3),
            {"tiny": tmp_path / "tiny.gguf"},
            endpoint,
        )
        found = dict(report.opened(workload, *several, tmp_path / "answers.jsonl"))
        assert list(found) == ["net", "2-gram", "3-gram", "tiny", "endpoint"]
        texts = report.judged_texts(workload, "held_out", 500)
        bits = {name: text_scores(model, texts)["bits_per_byte"] for name, model in found.items()}
    assert bits["3-gram"] < bits["2-gram"] < bits["net"] and all(np.isfinite(list(bits.values())))
    assert found["net"].context_length == CONTEXT and found["net"].name == "net" and found["tiny"].name == "tiny"
    assert (tmp_path / "answers.jsonl").exists()
    assert list(dict(report.opened(workload, {}, ngrams(workload, 2), {}, None, Path("none")))) == ["2-gram"]


def test_judged_texts_are_the_beginnings_of_documents_in_whole_lines(workload, monkeypatch):
    monkeypatch.setattr(report, "PIECE", 100)
    assert report.unseen_split(workload) == "held_out"
    texts = report.judged_texts(workload, "held_out", 300)
    whole = pq.read_table(workload.folder / "held_out.parquet")["text"].to_pylist()
    assert len(texts) == 3 and sum(map(len, texts)) >= 300 > sum(map(len, texts[:2]))
    for text, document in zip(texts, whole, strict=False):
        assert document.startswith(text) and text.endswith("\n") and 100 < len(text) < 160
    monkeypatch.setattr(report, "PIECE", 10**6)
    assert report.judged_texts(workload, "held_out", 10**9) == whole


def test_a_split_without_text_is_an_error(tmp_path):
    folder = tmp_path / "seed0"
    workload = write_workload(folder)
    table = pq.read_table(folder / "held_out.parquet").slice(0, 0)
    pq.write_table(table, folder / "held_out.parquet")
    with pytest.raises(InputError, match="held_out.parquet: holds no text; run the curate stage again"):
        report.judged_texts(workload, "held_out", 10)
    assert report.unseen_split(workload) == "test"


def test_curves_are_in_bits_a_byte():
    values = [("loss", np.log(2) * 3, 1), ("learning_rate", 0.1, 1), ("valid_bits_per_byte", 2.5, 2)]
    history = metric_rows(values, system="adamw", workload="w", variant="net", seed=0, split="train")
    assert report.learning_curve(history, 2.0) == [
        ("bits_per_byte", pytest.approx(1.5), 1),
        ("valid_bits_per_byte", 2.5, 2),
    ]


def test_a_batch_s_loss_is_what_the_whole_split_would_cost(workload):
    """All documents at the same loss of a token: the split's rate is that in bits, by its bytes for a token."""
    nats = 1.7
    ((_, bits, _),) = report.learning_curve(
        metric_rows([("loss", nats, 1)], system="a", workload="w", variant="n", seed=0, split="train"),
        workload.bytes_per_token("train"),
    )
    tokens = workload.tokens("train")
    whole = workload.rates(np.full(len(tokens), np.exp(-nats)), "train")["bits_per_byte"]
    assert bits == pytest.approx(whole * len(tokens) / (len(tokens) - 1))


def test_drawn_texts_are_told_with_their_pieces_and_costs():
    model = small()
    params = SimpleNamespace(samples=2, tokens=9, temperature=0.8, top_p=0.9)
    rows = report.drawn(model, "net", ["def ", ""], params, seed=3)
    assert [(row["prompt"], row["sample"]) for row in rows] == [("def ", 0), ("def ", 1), ("", 0), ("", 1)]
    table = pa.Table.from_pylist(rows, report.SAMPLES)
    for row in table.to_pylist():
        assert row["model"] == "net" and len(row["tokens"]) == len(row["logprobs"]) <= 9
        assert "".join(row["tokens"]) == row["text"].rstrip("\ufffd") or "\ufffd" in row["text"]
    expected = model.sample([model.encode("def ")], n=2, max_tokens=9, temperature=0.8, top_p=0.9, seed=3)[0]
    assert [row["text"] for row in rows[:2]] == [sample.text for sample in expected]


def test_of_a_character_that_several_tokens_make_up_the_last_has_it():
    model = small(vocabulary=257)
    ids = model.encode("aä🍏b")
    assert report.pieces(model, ids) == ["a", "", "ä", "", "", "", "🍏", "b"]
    assert report.pieces(model, ids[:2]) == ["a", ""] and report.pieces(model, ids[:0]) == []


def test_speeds_count_drawn_tokens_for_each_batch(monkeypatch):
    model, seconds = small(), iter([10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr("time.process_time", lambda: next(seconds))
    asked = []
    monkeypatch.setattr(
        model,
        "sample",
        lambda prompts, **options: asked.append(options) or [[SimpleNamespace(token_ids=range(6))] * options["n"]],
    )
    found = report.drawing_speeds(model, [1, 4], 6)
    assert found == {"tokens_per_second_batch1": 3.0, "tokens_per_second_batch4": 6.0}
    assert asked == [{"n": 1, "max_tokens": 6}, {"n": 4, "max_tokens": 6}]


def test_what_cannot_be_opened_is_refused_by_name_and_the_others_go_on(workload, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    endpoint = SimpleNamespace(url="http://127.0.0.1:9/v1", model="none", key=None, context=512)
    several = ({}, ngrams(workload, 2), {"bad": tmp_path / "bad.gguf"}, endpoint, tmp_path / "answers.jsonl")
    found = {name: report.abilities(model) for name, model in report.opened(workload, *several)}
    assert [told["verdict"] for told in found.values()] == ["ok", "refused", "refused"]
    assert "bad.gguf" in found["bad"]["why"] and "start the server or correct the url" in found["endpoint"]["why"]
    assert "\n" not in found["bad"]["why"] + found["endpoint"]["why"]
    save_model(net("transformer", vocabulary=VOCABULARY), tmp_path / "model.safetensors", "w")
    (tmp_path / "model.json").unlink()
    with pytest.raises(InputError):  # of what was trained here, a fault ends the stage
        list(report.opened(workload, {"net": tmp_path / "model.safetensors"}, {}, {}, None, Path("none")))


def measuring(**changes):
    told = {"prompts": ["def ", ""], "samples": 1, "tokens": 4, "temperature": 0.8, "top_p": 0.9, "seed": 3}
    return SimpleNamespace(**told | {"batches": [1, 2]} | changes)


def test_what_is_measured_of_a_model_is_what_its_parts_tell():
    model, texts = small(context=128), ["x = [1, 2]\n"]
    found = report.measured(model, "net", texts, measuring())
    assert text_scores(model, texts).items() <= found.scores.items() and found.scores["calls"] == 1
    assert found.samples == report.drawn(model, "net", ["def ", ""], measuring(), 3)
    assert found.costs["calls"] == 1 and found.costs["generated_tokens"] == sum(len(s["tokens"]) for s in found.samples)
    assert list(found.speeds) == ["tokens_per_second_batch1", "tokens_per_second_batch2"]
    error = InputError("why")
    assert report.measured(error, "net", texts, measuring()) is error


def test_a_server_that_dies_is_told_and_a_fault_of_a_model_that_is_here_is_raised(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    model, texts = small(context=128), ["x = [1, 2]\n"]
    with serving(model) as server:
        alive = EndpointLanguageModel(server.url, "tiny", attempts=1)
        assert set(report.measured(alive, "endpoint", texts, measuring()).scores) >= {"bits_per_byte", "calls"}
        # It dies while it draws.
        dying, asked = EndpointLanguageModel(server.url, "dying", attempts=1), len(server.requests)
        server.planned = [None, None, (503, b"gone")]
        why = report.measured(dying, "endpoint", texts, measuring())
        assert isinstance(why, InputError) and "gone" in str(why) and len(server.requests) == asked + 3
        dead = EndpointLanguageModel(server.url, "dead", attempts=1)
    told = report.abilities(report.measured(dead, "endpoint", texts, measuring()))
    assert told["verdict"] == "refused" and "start the server or correct the url" in told["why"]
    with pytest.raises(InputError, match="do not fit a context of 128"):
        report.measured(model, "net", texts, measuring(prompts=["x = 1\n" * 100]))


def test_a_chat_is_measured_without_being_judged():
    with serving(small(context=128), completes=False, chats=True) as server:
        chat = EndpointLanguageModel(server.url, "tiny")
        found = report.measured(chat, "endpoint", ["x"], measuring())
    assert found.scores is None and [row["prompt"] for row in found.samples] == ["def ", ""]
    told = report.abilities(chat)
    assert told["verdict"] == "degraded" and told["capabilities"] == ["batch", "chat", "sample", "seeded"]


def test_abilities_tell_what_is_missing():
    told = report.abilities(small())
    assert told["verdict"] == "ok" and told["vocabulary"] == 300 and "score" in told["capabilities"]
    with serving(small(), echoes=False) as server:
        told = report.abilities(EndpointLanguageModel(server.url, "tiny"))
    assert told["verdict"] == "degraded" and told["capabilities"] == ["batch", "sample", "seeded"]
