"""A real server on the loopback: what it says is what its model says, its failures are told in a line, and reruns are
free."""

import json

import numpy as np
import pytest

from tests.models.language_backends import TEXTS, small
from tests.models.serving import serving, template
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
    """Nobody waits here between attempts."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


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
    asked = [body for body in server.requests if body.get("prompt") == "größer"]
    assert len(asked) == 2 and asked[0]["seed"] != asked[1]["seed"] and asked[0]["model"] == "tiny"
    assert (asked[0]["max_tokens"], asked[0]["temperature"], asked[0]["top_p"]) == (6, 1.0, 1.0)
    # Servers take seeds of 31 bits; of four, one has more than 24.
    seeds = [body["seed"] for body in server.requests if body.get("prompt") in ("def", "größer")]
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
        assert len(server.requests) == made == endpoint.answers.made + 1  # it was refused a chat
    with file.open("a") as torn:
        torn.write('["cut off')
    again = EndpointLanguageModel(server.url, "tiny", file=file)
    assert again.sample(prompts, max_tokens=5, seed=1)[0][0].text == said.text and again.answers.made == 0
    assert again.capabilities == endpoint.capabilities
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


def test_an_answer_without_a_completion_is_told_in_one_line(server):
    cases = [
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
            EndpointLanguageModel(server.url, told)
        assert "\n" not in str(caught.value)
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
    for top in (-1, 21):
        with pytest.raises(
            InputError, match=f"endpoint tiny: was asked for the {top} likeliest tokens; ask for 0 to 20"
        ):
            endpoint.score(TEXTS[:1], top=top)


def test_answers_keep_no_two_servers_or_models_apart_by_chance(model, tmp_path):
    file = tmp_path / "answers.jsonl"
    with serving(model) as one, serving(model) as other:
        first = EndpointLanguageModel(one.url, "tiny", file=file)
        second = EndpointLanguageModel(other.url, "tiny", file=file)
        third = EndpointLanguageModel(one.url, "larger", file=file)
        assert first.answers.made == second.answers.made == third.answers.made == 3
        assert len({first.digest, second.digest, third.digest}) == 3
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({digest for digest, _ in lines}) == 12  # with the chats that both refuse


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


def merged(model, scores, place, top):
    """What JSON leaves of a place's likeliest tokens, whose keys are texts, likeliest first."""
    row = zip(scores.top_ids[place].tolist(), scores.top_logprobs[place].tolist(), strict=True)
    found = {model.decode([token]): logprob for token, logprob in row}
    found.setdefault(model.decode([scores.token_ids[place]]), scores.logprobs[place])
    return sorted(found.items(), key=lambda likely: -likely[1])[:top]


@pytest.mark.parametrize("top", [1, 3, 20])
@pytest.mark.parametrize("prefix", ["", "def add(a, b):"])
def test_the_likeliest_tokens_of_each_place_are_those_of_the_model_behind_it(server, model, prefix, top):
    endpoint, text = EndpointLanguageModel(server.url, "tiny"), "\nprint(a + b)\nx = 1\n"
    (found,), (expected,) = endpoint.score([text], prefix, top), model.score([text], prefix, top)
    assert found.top_ids.shape == found.top_logprobs.shape == expected.top_ids.shape
    assert (found.top_ids.dtype, found.top_logprobs.dtype) == (np.int64, np.float32)
    exact, first = 0, not prefix
    for place in range(first, len(found.token_ids)):
        ids, logprobs = found.top_ids[place], found.top_logprobs[place]
        likely = merged(model, expected, place, top)
        told = [endpoint.token_bytes(token).decode() for token in ids[: len(likely)].tolist()]
        assert told == [word for word, _ in likely] and logprobs[: len(likely)] == pytest.approx(
            [logprob for _, logprob in likely], abs=1e-6
        )
        assert (ids[len(likely) :] == -1).all() and np.isneginf(logprobs[len(likely) :]).all()
        if len({model.decode([token]) for token in expected.top_ids[place].tolist()}) == top:
            assert told == [model.decode([token]) for token in expected.top_ids[place].tolist()]
            exact += 1
    assert exact or top == 20  # of 20, some are parts of characters, which are one text
    if first:
        assert (found.top_ids[0] == -1).all() and np.isneginf(found.top_logprobs[0]).all()
    (plain,) = endpoint.score([text], prefix)
    assert plain.top_ids is None and plain.token_ids.tolist() == found.token_ids.tolist()
    assert plain.logprobs == pytest.approx(found.logprobs, nan_ok=True)


def test_a_server_that_tells_fewer_likeliest_tokens_is_an_error(model):
    with serving(model, top=2) as server:
        endpoint = EndpointLanguageModel(server.url, "tiny")
        assert endpoint.score(TEXTS[:1], top=2)[0].top_ids.shape[1] == 2
        with pytest.raises(
            InputError, match="endpoint tiny: tells 2 likeliest tokens where 3 are asked for; ask for fewer"
        ):
            endpoint.score(TEXTS[:1], top=3)
        text = "x"
        echo = endpoint._choice(endpoint._echo(text))
        server.planned = [(200, {"choices": [echo | {"logprobs": echo["logprobs"] | {"top_logprobs": None}}]})]
        with pytest.raises(InputError, match="tells 0 likeliest tokens where 2 are asked for"):
            endpoint.score([text], top=2)


@pytest.mark.parametrize("code", [400, 404, 405])
def test_where_completions_are_refused_a_chat_is_asked(model, code, tmp_path):
    file = tmp_path / "answers.jsonl"
    with serving(model, completes=False, chats=True, code=code) as server:
        endpoint = EndpointLanguageModel(server.url, "tiny", file=file)
        assert endpoint.capabilities == {"sample", "batch", "chat", "seeded"}
        opened = len(server.requests)
        (first, second), _ = endpoint.sample(
            [endpoint.encode("größer"), endpoint.encode("")], n=2, max_tokens=6, seed=3
        )
        asked = server.requests[opened:]
        assert [body["messages"] for body in asked[1:3]] == [
            [{"role": "user", "content": content}] for content in ("größer", "")
        ]
        assert len(asked) == 4 and not any("prompt" in body for body in asked)
        for sample, body in ((first, asked[0]), (second, asked[1])):
            prompt = model.encode(template([{"role": "user", "content": "größer"}]))
            expected = model.sample([prompt], max_tokens=6, seed=body["seed"])[0][0]
            assert (sample.text, sample.finish, sample.seed) == (expected.text, expected.finish, 3)
            assert [endpoint.token_bytes(token) for token in sample.token_ids.tolist()] == [
                model.token_bytes(token) for token in expected.token_ids.tolist()
            ]
            assert sample.logprobs == pytest.approx(expected.logprobs, abs=1e-9)
        with pytest.raises(Unsupported, match="endpoint tiny: cannot 'score'; use a model of another back end"):
            endpoint.score(["x"])
        server.planned = [(400, {"error": "maximum context length is 8 tokens"})]
        with pytest.raises(InputError, match="v1/chat/completions: refuses .*maximum context length is 8 tokens"):
            endpoint.sample([endpoint.encode("other")])
        endpoint.sample([endpoint.encode("other")])  # which was no lasting refusal
        with pytest.raises(InputError, match="leaves no room in a context of 12"):
            EndpointLanguageModel(server.url, "tiny", file=file, context_length=12)
    again = EndpointLanguageModel(server.url, "tiny", file=file)
    assert again.capabilities == endpoint.capabilities and again.answers.made == 0
    assert again.sample([again.encode("größer")], max_tokens=6, seed=3)[0][0].text == first.text


def test_a_chat_that_tells_no_log_probabilities_draws_all_the_same(model):
    with serving(model, completes=False, chats=True) as server:
        models, samples = [], []
        for server.plain in (False, True):
            models.append(EndpointLanguageModel(server.url, f"plain {server.plain}"))
            samples.append(models[-1].sample([models[-1].encode("def")], max_tokens=4, seed=1)[0][0])
            assert server.requests[-1].get("logprobs") == (None if server.plain else True)
    telling, plain = models
    assert plain.capabilities == telling.capabilities
    assert samples[0].text == samples[1].text == plain.decode(samples[1].token_ids.tolist())
    assert np.isfinite(samples[0].logprobs).all() and np.isnan(samples[1].logprobs).all()


def test_a_server_that_has_both_completes_prompts(model):
    with serving(model, chats=True) as server:
        endpoint = EndpointLanguageModel(server.url, "tiny")
        assert endpoint.capabilities == {"sample", "batch", "score", "seeded", "chat"}
        endpoint.sample([endpoint.encode("x")])
        assert server.requests[-1]["prompt"] == "x"
        # A chat that fails is none; the echo and what was drawn before it are answered.
        server.planned = [None, None, None] + [(500, b"no template")] * 4
        assert EndpointLanguageModel(server.url, "other").capabilities == endpoint.capabilities - {"chat"}
        assert server.planned == []


def test_a_server_without_either_is_told_with_both_refusals(model):
    with serving(model, completes=False) as server:
        told = "v1/completions: refuses .*404 Not Found.*; .*v1/chat/completions: refuses .*404 Not Found"
        with pytest.raises(InputError, match=told) as caught:
            EndpointLanguageModel(server.url, "tiny")
        assert "\n" not in str(caught.value)
        # One who may not ask is not sent on to the chat.
        server.chats, server.code, server.requests[:] = True, 403, []
        with pytest.raises(InputError, match="403 Forbidden"):
            EndpointLanguageModel(server.url, "tiny")
        assert len(server.requests) == 2


def test_texts_without_letters_show_no_seed(server):
    empty = {"choices": [{"text": "", "finish_reason": "stop"}]}
    server.planned = [None, (200, empty), (200, empty)]
    assert "seeded" not in EndpointLanguageModel(server.url, "tiny").capabilities
