"""What a language model says is the same cached or not, in batches or alone, step by step or at once."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from winnow.curate.byte_pairs import train_byte_pairs
from winnow.errors import InputError
from winnow.models import build
from winnow.models.language_model import Unsupported, require
from winnow.models.sampling import shaped
from winnow.models.small_language_model import SmallLanguageModel
from winnow.models.vocabulary import byte_level

TEXTS = ["def add(a, b):\n    return a + b\n", "x = [1, 2, 3]\nprint(x)\n", "größer = 'Äpfel 🍏 und Birnen'\n"] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level(train_byte_pairs(TEXTS, 300))


def net(name="llama", scale=6, **changes):
    arguments = {"vocabulary": 300, "width": 32, "layers": 2, "heads": 4, "seed": 0}
    arguments |= {"kv_heads": 2} if name == "llama" else {}
    model = build(name, **arguments | changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale if parameter.ndim == 2 and name != "llama" else 1.5)
    return model


@pytest.fixture(scope="module")
def model(tokenizer):
    return SmallLanguageModel(net(), tokenizer, 64)


def test_a_transformer_is_read_as_it_computes(tokenizer):
    plain = net("transformer").eval()
    small = SmallLanguageModel(plain, tokenizer, 64)
    tokens = np.array([5, 17, 200, 3, 3, 9])
    with torch.no_grad():
        expected = plain(torch.tensor([[0, *tokens]])).log_softmax(-1)[0, -1]
    assert small.next(small.start([tokens]))[0] == pytest.approx(expected.numpy(), abs=1e-4)
    assert "score" in small.capabilities and small.vocab_size == 300


PROMPTS = st.lists(st.lists(st.integers(1, 299), max_size=9), min_size=1, max_size=4)


@given(PROMPTS, st.lists(st.integers(0, 299), max_size=4))
def test_prompts_of_any_lengths_in_a_batch_are_prompts_alone_and_caches_change_nothing(model, prompts, more):
    prompts = [np.array(prompt, int) for prompt in prompts]
    state = model.start(prompts)
    assert state.lengths.tolist() == [1 + len(prompt) for prompt in prompts] and state.rows == len(prompts)
    for token in more:
        state = model.extend(state, np.full(len(prompts), token))
    found = model.next(state)
    for row, prompt in zip(found, prompts, strict=True):
        alone = model.next(model.start([np.concatenate([prompt, more]).astype(int)]))[0]
        assert row == pytest.approx(alone, abs=1e-4)
        assert np.logaddexp.reduce(row.astype(float)) == pytest.approx(0, abs=1e-5)


def test_scores_are_the_sum_of_steps(model):
    text, prefix = "return a + b", "def add(a, b):\n    "
    (scores,) = model.score([text], prefix, top=3)
    state = model.start([model.encode(prefix)])
    for step, token in enumerate(scores.token_ids):
        logs = model.next(state)[0]
        assert scores.logprobs[step] == pytest.approx(logs[token], abs=1e-4)
        assert scores.top_logprobs[step] == pytest.approx(np.sort(logs)[::-1][:3], abs=1e-4)
        assert logs[scores.top_ids[step]] == pytest.approx(scores.top_logprobs[step], abs=1e-4)
        state = model.extend(state, np.array([token]))
    assert model.score([text])[0].top_ids is None and len(model.score([""])[0].token_ids) == 0
    both = model.score([text, "x"], prefix)
    assert both[0].logprobs == pytest.approx(scores.logprobs, abs=1e-6)


def test_rows_that_were_selected_twice_go_on_apart(model):
    state = model.start([np.array([7, 8]), np.array([9])])
    before = [layer.clone() for layer in state.cache.keys]
    twice = model.select(state, np.array([1, 0, 1]))
    assert np.array_equal(model.next(twice), model.next(state)[[1, 0, 1]])
    on = model.extend(twice, np.array([3, 4, 5]))
    for row, tokens in enumerate(([9, 3], [7, 8, 4], [9, 5])):
        assert model.next(on)[row] == pytest.approx(model.next(model.start([np.array(tokens)]))[0], abs=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, state.cache.keys, strict=True))
    assert twice.lengths.tolist() == [2, 3, 2] and on.lengths.tolist() == [3, 4, 3]


def test_hidden_states_give_the_next_tokens(model):
    (states,) = model.hidden(["x = [1"])
    ids = model.encode("x = [1")
    assert states.shape == (len(ids), 32)
    logs = model.net.logits(torch.from_numpy(states[-1])).log_softmax(-1)
    assert model.next(model.start([ids]))[0] == pytest.approx(logs.detach().numpy(), abs=1e-4)


def test_draws_follow_the_distribution(model):
    state = model.start([np.array([5])])
    samples = model.sample([np.array([5])], n=6000, max_tokens=1, seed=1)[0]
    counts = np.bincount([s.token_ids[0] for s in samples], minlength=300)
    expected = np.exp(model.next(state)[0].astype(float)) * 6000
    order = np.argsort(-expected)
    many = order[expected[order] >= 5]
    rest = 6000 - counts[many].sum()
    observed, wanted = [*counts[many], rest], [*expected[many], 6000 - expected[many].sum()]
    keep = [i for i, e in enumerate(wanted) if e > 1]
    observed, wanted = np.array(observed)[keep], np.array(wanted)[keep]
    assert chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 1e-3
    logs = model.next(state)[0]
    assert samples[0].logprobs[0] == pytest.approx(logs[samples[0].token_ids[0]], abs=1e-5)


def test_a_row_does_not_depend_on_its_batch(model):
    prompts = [np.array([5]), np.array([9, 9, 9]), np.array([2])]
    together = model.sample(prompts, n=2, max_tokens=12, seed=3)
    first = model.sample(prompts[:1], n=2, max_tokens=12, seed=3)
    one = model.sample(prompts[:1], n=1, max_tokens=12, seed=3)
    assert [s.text for s in together[0]] == [s.text for s in first[0]] and one[0][0].text == first[0][0].text
    assert first[0][0].text != first[0][1].text
    assert model.sample(prompts[:1], max_tokens=12, seed=4)[0][0].text != one[0][0].text
    assert all(len(group) == 2 for group in together) and together[0][0].seed == 3
    assert {s.finish for group in together for s in group} <= {"length", "stop"}


def test_greedy_takes_the_likeliest_and_of_equals_the_lowest(model):
    sample = model.sample([np.array([5])], max_tokens=5, temperature=0)[0][0]
    state = model.start([np.array([5])])
    for token in sample.token_ids:
        assert token == model.next(state)[0].argmax()
        state = model.extend(state, np.array([token]))
    logs = np.log(np.array([0.2, 0.4, 0.4]))
    assert shaped(logs, 0, 1.0, 0, None).tolist() == [0, 1, 0]


def test_shapes_of_distributions_are_those_of_their_definitions():
    chances = np.array([0.1, 0.5, 0.15, 0.25])
    logs = np.log(chances)
    assert shaped(logs, 1.0, 1.0, 0, None) == pytest.approx(chances)
    assert shaped(logs, 1.0, 1.0, 2, None) == pytest.approx([0, 2 / 3, 0, 1 / 3])
    assert shaped(logs, 1.0, 0.75, 0, None) == pytest.approx([0, 2 / 3, 0, 1 / 3])
    assert shaped(logs, 1.0, 0.76, 0, None) == pytest.approx(np.array([0, 0.5, 0.15, 0.25]) / 0.9)
    assert shaped(logs, 1.0, 0.01, 0, None) == pytest.approx([0, 1, 0, 0])
    assert shaped(logs, 0.5, 1.0, 0, None) == pytest.approx(chances**2 / (chances**2).sum())
    allowed = np.array([True, False, True, False])
    assert shaped(logs, 1.0, 1.0, 0, allowed) == pytest.approx([0.4, 0, 0.6, 0])
    assert shaped(logs, 1.0, 0.5, 0, allowed) == pytest.approx([0, 0, 1, 0])
    assert shaped(logs, 1.0, 1.0, 0, allowed & False) is None
    assert shaped(logs, 1e-3, 1.0, 0, None) == pytest.approx([0, 1, 0, 0])


class OnlyEven:
    def __init__(self, most=10**9):
        self.told, self.most = {}, most

    def allowed(self, row):
        return np.arange(300) % 2 == 0 if len(self.told.get(row, [])) < self.most else np.zeros(300, bool)

    def advance(self, row, token):
        self.told.setdefault(row, []).append(token)


def test_masks_are_asked_row_by_row_and_end_a_text_where_they_allow_nothing(model):
    mask = OnlyEven(most=4)
    samples = model.sample([np.array([5]), np.array([6])], n=2, max_tokens=9, seed=2, mask=mask)
    flat = [sample for group in samples for sample in group]
    assert [sample.token_ids.tolist() for sample in flat] == [mask.told[row] for row in range(4)]
    for sample in flat:
        assert (sample.token_ids % 2 == 0).all()
        assert sample.finish == ("mask" if len(sample.token_ids) == 4 and sample.token_ids[-1] else "stop")

    class Wrong(OnlyEven):
        def allowed(self, row):
            return np.ones(3, bool)

    with pytest.raises(InputError, match="mask: allows"):
        model.sample([np.array([5])], mask=Wrong())


def test_texts_end_where_they_are_told_to(model):
    free = model.sample([np.array([5])], max_tokens=30, seed=11)[0][0]
    word = free.text[3:5]
    stopped = model.sample([np.array([5])], max_tokens=30, seed=11, stop=["never said", word])[0][0]
    assert stopped.finish == "stop" and stopped.text == free.text[: free.text.index(word)]
    assert len(stopped.token_ids) <= len(free.token_ids)
    short = model.sample([np.arange(1, 60)], max_tokens=30, seed=11)[0][0]
    assert (
        short.finish == "length" and len(short.token_ids) == 5
    )  # 64 less the first token and the prompt, and one more


def test_the_first_token_ends_a_text(tokenizer):
    ends = net()
    with torch.no_grad():
        ends.embedding.weight[0] += 50 * ends.norm.weight.sign()
    model = SmallLanguageModel(copy.deepcopy(ends), tokenizer, 64)
    sample = model.sample([model.encode("x")], max_tokens=400, temperature=0)[0][0]
    if sample.finish == "stop":
        assert sample.token_ids[-1] == 0 and sample.text == model.decode(sample.token_ids[:-1])


def test_digests_tell_models_apart(tokenizer, model):
    assert model.digest == SmallLanguageModel(net(), tokenizer, 64).digest
    assert model.digest != SmallLanguageModel(net(seed=1), tokenizer, 64).digest


def test_impossible_requests_are_refused(model, tokenizer):
    cases = [
        (lambda: model.start([]), "was given no prompt"),
        (lambda: model.start([np.arange(64)]), "65 tokens, the first included, do not fit a context of 64"),
        (lambda: model.score(["x " * 100]), "do not fit a context of 64"),
        (lambda: model.hidden(["x " * 100]), "do not fit a context of 64"),
        (lambda: model.sample([np.array([1])], n=0), "cannot sample with n 0"),
        (lambda: model.sample([np.array([1])], top_p=0.0), "top_p 0.0"),
        (lambda: model.sample([np.array([1])], temperature=-1.0), "temperature -1.0"),
        (lambda: SmallLanguageModel(net(vocabulary=299), tokenizer, 64), "has 300 tokens where the model has 299"),
        (lambda: SmallLanguageModel(build("table_linear", levels=[0], outputs=2), tokenizer, 64), "reads no texts"),
    ]
    for call, told in cases:
        with pytest.raises(InputError, match=told):
            call()
    full = model.start([np.arange(63)])
    with pytest.raises(InputError, match="do not fit"):
        model.extend(full, np.array([1]))
    broken = net()
    with torch.no_grad():
        broken.norm.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="not numbers"):
        SmallLanguageModel(broken, tokenizer, 64).start([np.array([1])])
    require(model, "next", "score")
    with pytest.raises(Unsupported, match="small: cannot 'chat'"):
        require(model, "next", "chat")
