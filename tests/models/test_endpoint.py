"""A real server on the loopback: what it says is what its model says, its failures are told in a line, and reruns are
free."""

import json
import socket

import numpy as np
import pytest

from tests.models.language_backends import TEXTS, small
from tests.models.serving import serving
from winnow.errors import InputError
from winnow.models.endpoint import END, EndpointLanguageModel
from winnow.models.language_model import Unsupported


@pytest.fixture(scope="module")
def model():
    return small("transformer")


@pytest.fixture
def server(model):
    with serving(model) as server:
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Seconds that were waited between attempts; nobody waits here."""
    found = []
    monkeypatch.setattr("time.sleep", found.append)
    return found


def test_scores_are_those_of_the_model_behind_it_from_the_second_token_on(server, model):
    endpoint = EndpointLanguageModel(server.url, "tiny")
    text, prefix = "\nprint(a + b)\n", "def add(a, b):"
    (alone,), (expected,) = endpoint.score([text]), model.score([text])
    assert np.isnan(alone.logprobs[0]) and alone.logprobs[1:] == pytest.approx(expected.logprobs[1:], abs=1e-9)
    assert alone.offsets.tolist() == expected.offsets.tolist()
    assert endpoint.decode(alone.token_ids.tolist()) == text
    (after,), (expected,) = endpoint.score([text], prefix), model.score([text], prefix)
    assert after.logprobs == pytest.approx(expected.logprobs, abs=1e-9)
    assert after.offsets.tolist() == expected.offsets.tolist() and np.isfinite(after.logprobs).all()
    assert endpoint.score([]) == [] and len(endpoint.score([text, text])) == 2


def test_samples_are_drawn_by_a_seed_of_their_own(server):
    endpoint = EndpointLanguageModel(server.url, "tiny")
    assert endpoint.capabilities == {"sample", "batch", "score", "seeded"}
    prompts = [endpoint.encode("def"), endpoint.encode("größer")]
    (first, second), other = endpoint.sample(prompts, n=2, max_tokens=6, seed=3)
    assert len({first.text, second.text, other[0].text, other[1].text}) == 4
    assert endpoint.sample(prompts[:1], max_tokens=6, seed=3)[0][0].text == first.text
    assert endpoint.sample(prompts[:1], max_tokens=6, seed=4)[0][0].text != first.text
    assert endpoint.decode(first.token_ids.tolist()) == first.text and first.seed == 3
    assert first.finish == "length" and len(first.logprobs) == len(first.token_ids) <= 6
    assert (first.token_ids > END).all() and endpoint.vocab_size == END + 1 + len(endpoint.words)
    asked = [body for body in server.requests if body["prompt"] == "größer"]
    assert len(asked) == 2 and asked[0]["seed"] != asked[1]["seed"] and asked[0]["model"] == "tiny"
    assert (asked[0]["max_tokens"], asked[0]["temperature"], asked[0]["top_p"]) == (6, 1.0, 1.0)
    # Servers take seeds of 31 bits; of four, one has more than 24.
    seeds = [body["seed"] for body in server.requests if body["prompt"] in ("def", "größer")]
    assert all(0 <= seed < 2**31 for seed in seeds) and max(seeds) > 2**24
    assert {body["max_tokens"] for body in server.requests if body.get("echo")} == {1}


def test_a_prompt_that_fills_the_context_is_one_line_with_both_lengths(server, model):
    prompt = "def add(a, b):\n    return a + b\n"
    size = len(model.encode(prompt))
    assert EndpointLanguageModel(server.url, "tiny", context_length=size + 1).score([prompt])
    endpoint = EndpointLanguageModel(server.url, "tiny", context_length=size)
    told = f"endpoint tiny: a prompt of {size} tokens leaves no room in a context of {size}; shorten the text"
    with pytest.raises(InputError, match=told):
        endpoint.score([prompt])
    with pytest.raises(InputError, match=told):
        endpoint.sample([endpoint.encode(prompt)], max_tokens=2)
    # What a server itself refuses is told as it says it.
    server.planned = [(400, {"error": "maximum context length is 8 tokens"})]
    with pytest.raises(InputError, match="400 Bad Request: .*maximum context length is 8 tokens"):
        endpoint.sample([endpoint.encode("x")])


def test_texts_are_bytes_and_the_end_is_none(server):
    endpoint = EndpointLanguageModel(server.url, "tiny")
    assert endpoint.encode("ä").tolist() == list("ä".encode()) and endpoint.decode([195, END, 164]) == "ä"
    assert endpoint.token_bytes(65) == b"A" and endpoint.token_bytes(END) == b"" and endpoint.eos_id == END


def test_what_was_asked_before_is_answered_from_the_file_without_a_server(model, tmp_path):
    file = tmp_path / "made" / "here" / "answers.jsonl"
    with serving(model) as server:
        endpoint = EndpointLanguageModel(server.url, "tiny", file=file)
        prompts = [endpoint.encode("x = ")]
        said, scored = endpoint.sample(prompts, max_tokens=5, seed=1)[0][0], endpoint.score(["x = [1, 2]"])[0]
        made = len(server.requests)
        endpoint.sample(prompts, max_tokens=5, seed=1)
        assert len(server.requests) == made == endpoint.answers.made
    with file.open("a") as torn:
        torn.write('["cut off')
    again = EndpointLanguageModel(server.url, "tiny", file=file)
    assert again.sample(prompts, max_tokens=5, seed=1)[0][0].text == said.text and again.answers.made == 0
    assert again.score(["x = [1, 2]"])[0].logprobs[1:].tolist() == scored.logprobs[1:].tolist()
    with pytest.raises(InputError, match="no answer to request"):
        again.sample(prompts, max_tokens=5, seed=2)


def test_keys_come_from_the_environment_and_go_into_no_file(server, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="the environment has no WINNOW_KEY"):
        EndpointLanguageModel(server.url, "tiny", key="WINNOW_KEY")
    monkeypatch.setenv("WINNOW_KEY", "secret")
    EndpointLanguageModel(server.url, "tiny", key="WINNOW_KEY", file=tmp_path / "answers.jsonl")
    assert set(server.keys) == {"Bearer secret"}
    assert "secret" not in (tmp_path / "answers.jsonl").read_text()
    server.planned = [(401, {"error": "no"})] * 3
    with pytest.raises(InputError, match="401 Unauthorized") as caught:
        EndpointLanguageModel(server.url, "other", key="WINNOW_KEY")
    assert "secret" not in str(caught.value)


def test_a_busy_server_is_asked_again_and_waited_for_longer_each_time(server, waits):
    server.planned = [(503, b"busy"), (429, b"", [("Retry-After", "7")]), (500, b"")]
    EndpointLanguageModel(server.url, "tiny")
    assert waits == [0.5, 7.0, 2.0]
    waits.clear()
    server.planned = [(429, b"", [("Retry-After", "7000")])]
    EndpointLanguageModel(server.url, "tiny")
    assert waits == [30.0]


def broken(handler):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"{no json")
    handler.close_connection = True


def slow(handler):
    handler.server.waiting.wait(30)
    handler.close_connection = True


def test_failures_are_told_in_one_line_with_the_request(server, waits):
    import threading

    server.waiting = threading.Event()
    cases = [
        ([(500, b"out of\nmemory")] * 3, "no answer to request [0-9a-f]{12} in 3 attempts .500 .*: out of memory"),
        ([broken] * 3, "no answer to request .* in 3 attempts"),
        ([slow] * 3, "in 3 attempts .*timed out"),
        ([(200, {"object": "list"})], "answers with no completion; name a server"),
        ([(200, [])], "answers with no completion"),
        ([(200, {"choices": [{"message": "hello"}]})], "answers with no completion"),
        ([(200, {"choices": ["hello"]})], "answers with no completion"),
        ([(200, {"choices": [{"message": "hello"}, {"text": "other"}]})], "answers with no completion"),
        ([None, None, (404, b"no model")], "v1/completions: refuses request [0-9a-f]{12} .404 Not Found: no model"),
    ]
    for planned, told in cases:
        server.planned = list(planned)
        with pytest.raises(InputError, match=told) as caught:
            EndpointLanguageModel(server.url, told, attempts=3, timeout=0.5)
        assert "\n" not in str(caught.value)
    server.waiting.set()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    waits.clear()
    with pytest.raises(InputError, match="in 4 attempts .*refused.*; start the server or correct the url"):
        EndpointLanguageModel(f"http://127.0.0.1:{port}/v1", "tiny")
    assert waits == [0.5, 1.0, 2.0]
    with pytest.raises(InputError, match="the url is 'file:///etc/passwd'; it begins with http"):
        EndpointLanguageModel("file:///etc/passwd", "tiny")


@pytest.mark.parametrize("changes", [{"echoes": False}, {"tells": False}])
def test_a_server_without_log_probabilities_of_prompts_is_no_judge_but_draws(model, changes):
    with serving(model, **changes) as server:
        endpoint = EndpointLanguageModel(server.url, "tiny")
        assert endpoint.capabilities == {"sample", "batch", "seeded"}
        with pytest.raises(Unsupported, match="endpoint tiny: cannot 'score'; use a model of another back end"):
            endpoint.score(["x"])
        sample = endpoint.sample([endpoint.encode("x")], max_tokens=4)[0][0]
        assert endpoint.decode(sample.token_ids.tolist()) == sample.text
        assert np.isnan(sample.logprobs).all() == ("tells" in changes)


def test_a_server_that_forgets_seeds_is_told_as_one(model):
    with serving(model, seeded=False) as server:
        assert "seeded" not in EndpointLanguageModel(server.url, "tiny").capabilities


def test_what_no_server_does_is_refused_by_name(server):
    endpoint = EndpointLanguageModel(server.url, "tiny")
    prompts = [endpoint.encode("x")]
    for call, lacking in (
        (lambda: endpoint.start(prompts), "state"),
        (lambda: endpoint.extend(None, prompts[0]), "state"),
        (lambda: endpoint.select(None, prompts[0]), "state"),
        (lambda: endpoint.next(None), "next"),
        (lambda: endpoint.hidden(["x"]), "hidden"),
        (lambda: endpoint.sample(prompts, mask=object()), "mask"),
    ):
        with pytest.raises(Unsupported, match=f"cannot '{lacking}'"):
            call()
    for options in ({"n": 0}, {"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": 5}):
        with pytest.raises(InputError, match="cannot sample with"):
            endpoint.sample(prompts, **options)
    with pytest.raises(InputError, match="the 3 likeliest tokens, which it does not number"):
        endpoint.score(TEXTS[:1], top=3)


def test_answers_keep_no_two_servers_or_models_apart_by_chance(model, tmp_path):
    file = tmp_path / "answers.jsonl"
    with serving(model) as one, serving(model) as other:
        first = EndpointLanguageModel(one.url, "tiny", file=file)
        second = EndpointLanguageModel(other.url, "tiny", file=file)
        third = EndpointLanguageModel(one.url, "larger", file=file)
        assert first.answers.made == second.answers.made == third.answers.made == 3
        assert len({first.digest, second.digest, third.digest}) == 3
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({digest for digest, _ in lines}) == 9


def test_unless_told_a_request_waits_a_minute_and_samples_are_plain(server):
    endpoint = EndpointLanguageModel(server.url, "tiny")
    assert (endpoint.context_length, endpoint.answers.timeout, endpoint.answers.attempts) == (4096, 60, 4)
    prompts = [endpoint.encode("x")]
    endpoint.sample(prompts)
    plain = server.requests[-1]
    told = {"max_tokens": 64, "temperature": 1.0, "top_p": 1.0, "stop": None, "logprobs": 1}
    assert {name: plain[name] for name in told} == told
    made = endpoint.answers.made
    endpoint.sample(prompts, n=1, seed=0)
    assert endpoint.answers.made == made  # the same request
    endpoint.sample(prompts, stop=["end", "."])
    assert server.requests[-1]["stop"] == ["end", "."]
