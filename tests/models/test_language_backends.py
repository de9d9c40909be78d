"""What every back end of the one interface must do: the same cached or not, in batches or alone, step by step or at
once; draws that follow their chances and a seed alone; texts that come back; refusals by name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from tests.models.gguf_writing import write_gguf
from tests.models.language_backends import CONTEXT, NETS, of_net
from tests.models.serving import serving
from winnow.errors import InputError
from winnow.evaluate.language_scores import text_scores
from winnow.models.endpoint import EndpointLanguageModel
from winnow.models.gguf_files import read_gguf
from winnow.models.language_model import Unsupported, require
from winnow.models.prefix_cache import PrefixCache

LOCAL = [*NETS, "gguf", "prefix_cache"]
HELD_OUT = ["def mul(a, b):\n    return a * b\n", "größte = ['🍏', 3]\n" * 6]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Name -> model, each made when it is first asked for; the endpoint's is the transformer."""
    made = {}

    def model(name):
        if name not in made:
            if name == "gguf":
                path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
                write_gguf(path)
                made[name] = read_gguf(path)
            elif name == "prefix_cache":
                made[name] = PrefixCache(model("llama"), 64)
            elif name == "endpoint":
                server = serving(model("transformer"))
                made[name] = EndpointLanguageModel(server.__enter__().url, "tiny", context_length=CONTEXT)
                made["server"] = server
            else:
                made[name] = of_net(NETS[name])
        return made[name]

    yield model
    if "server" in made:
        made["server"].__exit__(None, None, None)


@pytest.fixture(params=LOCAL, scope="module")
def local(request, models):
    """Models that tell all chances and keep states."""
    return models(request.param)


@pytest.fixture(params=[*LOCAL, "endpoint"], scope="module")
def model(request, models):
    return models(request.param)


def ids(*tokens):
    return np.array(tokens, np.int64)


def followed(model, prompt, tokens=()):
    """Log-probabilities of what follows a prompt and then tokens read one by one."""
    state = model.start([ids(*prompt)])
    for token in tokens:
        state = model.extend(state, ids(token))
    return model.next(state)[0]


def test_it_says_what_it_is(model):
    assert model.name and len(model.digest) == 64 and model.context_length == CONTEXT
    assert 0 <= model.eos_id < model.vocab_size and model.token_bytes(model.eos_id) == b""
    require(model, "sample", "score", "batch", "seeded")
    with pytest.raises(Unsupported, match=f"{model.name}: cannot 'chat'; use a model of another back end"):
        require(model, "next", "score", "chat") if "next" in model.capabilities else require(model, "chat")


@settings(max_examples=8)
@given(
    st.lists(st.lists(st.integers(1, 299), max_size=9), min_size=1, max_size=4),
    st.lists(st.integers(0, 299), max_size=3),
)
def test_prompts_of_any_lengths_in_a_batch_are_prompts_alone_and_states_change_nothing(local, prompts, more):
    state = local.start([ids(*prompt) for prompt in prompts])
    assert state.lengths.tolist() == [1 + len(prompt) for prompt in prompts] and state.rows == len(prompts)
    for token in more:
        state = local.extend(state, np.full(len(prompts), token))
    for row, prompt in zip(local.next(state), prompts, strict=True):
        assert row == pytest.approx(followed(local, [*prompt, *more]), abs=1e-4)
        assert np.logaddexp.reduce(row.astype(float)) == pytest.approx(0, abs=1e-5)
        assert row.shape == (local.vocab_size,)


def test_scores_are_the_sum_of_steps(local):
    text, prefix = "return a + b", "def add(a, b):\n    "
    (scores,) = local.score([text], prefix, top=3)
    state = local.start([local.encode(prefix)])
    for step, token in enumerate(scores.token_ids):
        logs = local.next(state)[0]
        assert scores.logprobs[step] == pytest.approx(logs[token], abs=1e-4)
        assert scores.top_logprobs[step] == pytest.approx(np.sort(logs)[::-1][:3], abs=1e-4)
        assert logs[scores.top_ids[step]] == pytest.approx(scores.top_logprobs[step], abs=1e-4)
        state = local.extend(state, ids(token))
    assert local.score([text])[0].top_ids is None and len(local.score([""])[0].token_ids) == 0
    assert local.score([""], top=2)[0].top_ids.shape == (0, 2)


def test_scores_of_several_texts_are_those_of_each_and_add_up(model):
    prefix = "def add(a, b):"
    both = model.score(["\nreturn a\n", "\nprint(b)\n"], prefix)
    for text, scores in zip(("\nreturn a\n", "\nprint(b)\n"), both, strict=True):
        assert scores.logprobs == pytest.approx(model.score([text], prefix)[0].logprobs, abs=1e-5)
        assert model.decode(scores.token_ids.tolist()) == text
    assert model.score([]) == []
    whole = model.score([prefix + "\nreturn a\n"])[0].logprobs
    after = len(both[0].logprobs)
    assert whole[-after:] == pytest.approx(both[0].logprobs, abs=1e-4)
    # A text may be given as its tokens.
    assert model.score([model.encode("\nreturn a\n")], prefix)[0].logprobs == pytest.approx(both[0].logprobs, abs=1e-6)


@pytest.mark.parametrize("text", ["größer = 'Äpfel 🍏'\n", "x", "\t\n  \n"])
def test_spans_tile_a_text(model, text):
    spans = model.score([text])[0].offsets
    assert spans[0, 0] == 0 and spans[-1, 1] == len(text) and (spans[1:, 0] == spans[:-1, 1]).all()
    assert (spans[:, 1] >= spans[:, 0]).all() and spans.dtype == np.int32


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_texts_come_back(model, text):
    tokens = model.encode(text)
    assert model.decode(tokens.tolist()) == text and tokens.dtype == np.int64
    assert b"".join(model.token_bytes(int(token)) for token in tokens) == text.encode()


def test_rows_that_were_selected_twice_go_on_apart(local):
    state = local.start([ids(7, 8), ids(9)])
    before = local.next(state).copy()
    twice = local.select(state, np.array([1, 0, 1]))
    assert np.array_equal(local.next(twice), before[[1, 0, 1]])
    on = local.extend(twice, np.array([3, 4, 5]))
    again = local.extend(local.select(state, np.array([1, 0, 1])), np.array([6, 4, 5]))
    for row, tokens in enumerate(([9, 3], [7, 8, 4], [9, 5])):
        assert local.next(on)[row] == pytest.approx(followed(local, tokens), abs=1e-4)
    assert local.next(again)[1:] == pytest.approx(local.next(on)[1:], abs=1e-4)
    assert np.array_equal(local.next(state), before)
    assert twice.lengths.tolist() == [2, 3, 2] and on.lengths.tolist() == [3, 4, 3]


def test_a_cache_of_prefixes_changes_nothing(models, local):
    cached = PrefixCache(local, 16)
    for prompt in ([5, 6], [5, 6, 7, 8], [5], [9], [5, 6, 7]):
        assert cached.next(cached.start([ids(*prompt)]))[0] == pytest.approx(followed(local, prompt), abs=1e-4)


def test_hidden_states_are_those_before_the_scores(local):
    (states,), text = local.hidden(["x = [1"]), "x = [1"
    assert states.shape[0] == len(local.encode(text)) and states.dtype == np.float32
    other, _ = local.hidden(["x = [2", "x"])
    assert other[0] == pytest.approx(states[0], abs=1e-4) and not np.allclose(other[-1], states[-1], atol=1e-3)


def test_draws_follow_the_chances(local):
    """A single prompt, so that no chance of a row hangs on another's; chances below 1e-3 are taken together."""
    draws = 200 if local.net.__class__.__name__ == "StreamedTransformer" else 2000
    prompt = ids(5)
    counts = np.zeros(local.vocab_size)
    samples = local.sample([prompt], n=draws, max_tokens=1, seed=1)[0]
    np.add.at(counts, [sample.token_ids[0] for sample in samples], 1)
    expected = np.exp(followed(local, prompt).astype(float)) * draws
    many = expected >= 5
    observed, wanted = [*counts[many], counts[~many].sum()], [*expected[many], expected[~many].sum()]
    assert chisquare(observed, np.array(wanted) * sum(observed) / sum(wanted)).pvalue > 1e-3
    logs = followed(local, prompt)
    assert samples[0].logprobs[0] == pytest.approx(logs[samples[0].token_ids[0]], abs=1e-5)


def drawn(model, texts, **options):
    return model.sample([model.encode(text) for text in texts], **{"max_tokens": 10, **options})


def test_a_seed_gives_the_same_draws_whatever_the_batch(model):
    together = drawn(model, ["def", "größer", ""], n=2, seed=3)
    first, one = drawn(model, ["def"], n=2, seed=3), drawn(model, ["def"], n=1, seed=3)
    assert [s.text for s in together[0]] == [s.text for s in first[0]] and one[0][0].text == first[0][0].text
    assert first[0][0].text != first[0][1].text and drawn(model, ["def"], seed=4)[0][0].text != one[0][0].text
    assert [len(group) for group in together] == [2, 2, 2] and together[0][0].seed == 3
    for sample in (sample for group in together for sample in group):
        assert sample.finish in ("length", "stop") and len(sample.token_ids) == len(sample.logprobs) <= 10
        said = model.decode(sample.token_ids.tolist())
        # A server tells parts of a character as U+FFFD each.
        assert said == sample.text or (model.name.startswith("endpoint") and "\ufffd" in said)


def test_without_temperature_the_likeliest_is_taken(model):
    texts = {drawn(model, ["def"], temperature=0, seed=seed)[0][0].text for seed in range(2)}
    assert len(texts) == 1
    if "next" in model.capabilities:
        (sample,), prompt = drawn(model, ["def"], temperature=0)[0], model.encode("def")
        for step, token in enumerate(sample.token_ids):
            assert token == followed(model, [*prompt, *sample.token_ids[:step]]).argmax()


def test_a_text_ends_where_it_is_told_to(model):
    (free,) = drawn(model, ["def"], seed=11)[0]
    word = free.text[2:4]
    (stopped,) = drawn(model, ["def"], seed=11, stop=["never said", word])[0]
    assert stopped.finish == "stop" and stopped.text == free.text[: free.text.index(word)]
    assert drawn(model, ["def"], seed=11, stop=["never said"])[0][0].text == free.text


def test_only_the_likeliest_are_drawn_where_so_asked(local):
    logs, prompt = followed(local, [5]), [ids(5)]
    best = set(np.argsort(-logs, kind="stable")[:3].tolist())
    kept = local.sample(prompt, n=40, max_tokens=1, top_k=3, seed=1)[0]
    assert {int(sample.token_ids[0]) for sample in kept} <= best
    share = float(np.exp(np.sort(logs)[::-1][:3].astype(float)).sum())
    kept = local.sample(prompt, n=40, max_tokens=1, top_p=share - 1e-4, seed=1)[0]
    assert {int(sample.token_ids[0]) for sample in kept} <= best


class OnlyEven:
    """Even tokens alone, and none after so many."""

    def __init__(self, size, most):
        self.even, self.told, self.most = np.arange(size) % 2 == 0, {}, most

    def allowed(self, row):
        return self.even if len(self.told.get(row, [])) < self.most else self.even & False

    def advance(self, row, token):
        self.told.setdefault(row, []).append(token)


def test_masks_hold_row_by_row_and_end_a_text_where_they_allow_nothing(local):
    mask = OnlyEven(local.vocab_size, 4)
    samples = local.sample([ids(5), ids(6)], n=2, max_tokens=9, seed=2, mask=mask)
    flat = [sample for group in samples for sample in group]
    assert [sample.token_ids.tolist() for sample in flat] == [mask.told[row] for row in range(4)]
    for sample in flat:
        assert (sample.token_ids % 2 == 0).all()
        assert sample.finish == ("mask" if len(sample.token_ids) == 4 and sample.token_ids[-1] else "stop")


def test_a_context_that_is_too_short_is_told_with_both_lengths(local):
    told = f"{CONTEXT + 1} tokens, the first included, do not fit a context of {CONTEXT}; shorten the text"
    full = local.start([np.arange(1, CONTEXT)])
    long = np.arange(1, CONTEXT + 1)
    for call in (lambda: local.start([long]), lambda: local.extend(full, ids(1)), lambda: local.score([long])):
        with pytest.raises(InputError, match=told):
            call()
    assert local.sample([np.arange(1, CONTEXT - 4)], max_tokens=30, seed=11)[0][0].finish in ("length", "stop")
    with pytest.raises(InputError, match="was given no prompt"):
        local.start([])


@pytest.mark.parametrize("options", [{"n": 0}, {"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}])
def test_impossible_draws_are_refused(model, options):
    ((name, value),) = options.items()
    with pytest.raises(InputError, match=f"cannot sample with .*{name} {value}"):
        drawn(model, ["def"], **options)


def test_bits_a_byte_are_those_of_the_tokens_over_the_bytes_of_the_text(local):
    found = text_scores(local, HELD_OUT)
    nats = size = count = 0
    for text in HELD_OUT:
        tokens = local.encode(text)
        for first in range(0, len(tokens), CONTEXT - 1):
            state = local.start([ids()])
            for token in tokens[first : first + CONTEXT - 1]:
                nats -= local.next(state)[0, token]
                count += 1
                state = local.extend(state, ids(token))
        size += len(text.encode())
    assert found["bits_per_byte"] == pytest.approx(nats / np.log(2) / size, rel=1e-4)
    assert found["cross_entropy"] == pytest.approx(nats / count, rel=1e-4)
    assert found["bytes_per_token"] == pytest.approx(size / count)
