"""Requests are made again where that may help, failures are told in a line, and both kinds of answers are read."""

import json
import socket
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from tests.models.serving import serving
from winnow.errors import InputError
from winnow.models.endpoint_answers import Answers, Refused, likeliest, text_of, tokens_of

ANSWER = {"choices": [{"text": "said"}]}


@pytest.fixture
def server():
    """A server that says what is planned."""
    with serving(SimpleNamespace(), chats=True) as server:
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Seconds that were waited between attempts; nobody waits here."""
    found = []
    monkeypatch.setattr("time.sleep", found.append)
    return found


def answers(server, file=None, attempts=4, timeout=30.0):
    return Answers(server.url, None, file, timeout, attempts)


def test_a_busy_server_is_asked_again_and_waited_for_longer_each_time(server, waits):
    server.planned = [(503, b"busy"), (429, b"", [("Retry-After", "7")]), (500, b""), (200, ANSWER)]
    assert answers(server).ask({"prompt": "x"}) == ANSWER
    assert waits == [0.5, 7.0, 2.0]
    waits.clear()
    server.planned = [(429, b"", [("Retry-After", "7000")]), (200, ANSWER)]
    answers(server).ask({"prompt": "x"})
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
    server.waiting = threading.Event()
    cases = [
        ([(500, b"out of\nmemory")] * 3, "no answer to request [0-9a-f]{12} in 3 attempts .500 .*: out of memory"),
        ([broken] * 3, "no answer to request .* in 3 attempts"),
        ([slow] * 3, "in 3 attempts .*timed out"),
        ([(404, b"no\nmodel")], "v1/completions: refuses request [0-9a-f]{12} .404 Not Found: no model"),
    ]
    for planned, told in cases:
        server.planned = list(planned)
        with pytest.raises(InputError, match=told) as caught:
            answers(server, attempts=3, timeout=0.5 if slow in planned else 30.0).ask({"prompt": told})
        assert "\n" not in str(caught.value) and server.planned == []
    server.waiting.set()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    waits.clear()
    with pytest.raises(InputError, match="in 4 attempts .*refused.*; start the server or correct the url"):
        Answers(url, None, None, 5.0, 4).ask({"prompt": "x"})
    assert waits == [0.5, 1.0, 2.0]


def test_messages_go_to_the_chat(server):
    server.chats, server.completes = False, False
    for body, path in (({"messages": []}, "v1/chat/completions"), ({"prompt": ""}, "v1/completions")):
        with pytest.raises(Refused, match=f"{path}: refuses .*/{path} is not served here") as caught:
            answers(server).ask(body)
        assert caught.value.code == 404


def test_refusals_are_kept_only_where_that_is_asked_for(server, tmp_path):
    file, body, other = tmp_path / "made" / "here" / "answers.jsonl", {"prompt": "x"}, {"prompt": "y"}
    asked = answers(server, file)
    server.planned = [(404, b"no"), (404, b"not yet"), (200, ANSWER), (405, b"never")]
    for _ in range(2):
        with pytest.raises(Refused, match="404"):
            asked.ask(body)
    assert asked.ask(body) == ANSWER and asked.made == 1
    with pytest.raises(Refused) as first:
        asked.ask(other)
    asked.keep_refusals()
    asked.keep_refusals()
    assert asked.ask(body) == ANSWER
    requests = len(server.requests)
    for each in (asked, answers(server, file)):
        with pytest.raises(Refused) as again:
            each.ask(other)
        assert (str(again.value), again.value.code) == (str(first.value), 405)
        assert each.ask(body) == ANSWER
    assert len(server.requests) == requests == 4
    assert len({json.loads(line)[0] for line in file.read_text().splitlines()}) == 2


def test_texts_are_those_of_completions_and_of_chats():
    told = [
        ({"text": "a"}, "a"),
        ({"text": ""}, ""),
        ({"message": {"role": "assistant", "content": "b"}}, "b"),
        ({"message": {"content": None, "reasoning_content": "so"}}, ""),
        ({"message": "c"}, None),
        ({"message": {"content": ["d"]}}, None),
        ({"text": 3}, None),
        ({}, None),
        ("e", None),
    ]
    for choice, text in told:
        assert text_of(choice) == text, choice


def test_tokens_are_those_of_completions_and_of_chats():
    chat = [
        {"token": "\ufffd", "bytes": [195], "logprob": -1.0, "top_logprobs": []},
        {"token": "ä", "bytes": None, "logprob": -9999.0},
        {"token": "b", "logprob": -2.0},
        {"token": "<end>", "bytes": [], "logprob": -0.5},
    ]
    words, logprobs = tokens_of({"logprobs": {"content": chat, "refusal": None}})
    assert words == [b"\xc3", "ä".encode(), b"b", b""]
    assert logprobs == pytest.approx([-1.0, np.nan, -2.0, -0.5], nan_ok=True)
    words, logprobs = tokens_of({"logprobs": {"tokens": ["ä", "b"], "token_logprobs": [None, -2.0]}})
    assert words == ["ä".encode(), b"b"] and logprobs == pytest.approx([np.nan, -2.0], nan_ok=True)
    for none in ({}, {"logprobs": None}, {"logprobs": {"content": []}}, {"logprobs": {"tokens": []}}):
        words, logprobs = tokens_of(none)
        assert words == [] and logprobs.shape == (0,) and logprobs.dtype == float


def test_the_likeliest_are_counted_without_the_token_that_is_there_unless_it_is_one_of_them():
    def counted(*places, top=2):
        tokens = [token for token, _ in places]
        return likeliest({"tokens": tokens, "top_logprobs": [place for _, place in places]}, top)

    first, outside, inside = ("a", None), ("z", {"z": -9.0, "b": -1.0, "c": -0.5}), ("c", {"b": -1.0, "c": -0.5})
    assert counted(first, outside) == ([[], [("c", -0.5), ("b", -1.0)]], 2)
    assert counted(first, outside, inside, top=3)[1] == 2
    assert counted(first, ("b", {"b": -1.0}), top=1)[1] == 1
    assert counted(first, ("b", {"b": -1.0, "c": -0.5}), top=1) == ([[], [("c", -0.5)]], 1)
    # Parts of characters are one text: what they take the place of cannot be known.
    parts = ("b", {"b": -0.5, "\ufffd": -1.0})
    assert counted(first, parts, top=5) == ([[], [("b", -0.5), ("\ufffd", -1.0)]], 5)
    assert counted(first, parts, inside, top=5)[1] == 2
    assert counted(first, top=5) == ([[]], 0) and likeliest({"tokens": ["a", "b"]}, 3) == ([[], []], 0)
