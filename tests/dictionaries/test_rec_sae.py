"""States come from each event of a user once, and the published loss is that of a loop over rows and latents."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.workloads.interaction_log import events, walks, workload
from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.rec_sae import (
    Published,
    fit_published,
    group_corpus,
    members,
    published_losses,
    ranking_of,
    ranking_with,
)
from winnow.errors import InputError
from winnow.randomness import torch_generator

LONG = [("a", name, float(i)) for i, name in enumerate("pqrstuvwxy")]
SHORT = [("b", name, float(i)) for i, name in enumerate("ypqr")]


def identity(d):
    """A dictionary that gives back what has no negative parts."""
    eye = torch.eye(2 * d)[:, :d]
    return Dictionary(
        W_enc=torch.cat([torch.eye(d), -torch.eye(d)], 1),
        b_enc=torch.zeros(2 * d),
        W_dec=eye.new_tensor(np.concatenate([np.eye(d), -np.eye(d)])),
        b_dec_in=torch.zeros(d),
        b_dec_out=torch.zeros(d),
        threshold=torch.zeros(2 * d),
        architecture="topk",
        activation="topk",
        k=d,
    )


def parameters(width=6, d=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(width, d), (width, d), (width,), (d,)]
    return Published(*(torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes))


def test_every_training_event_of_a_group_is_kept_once_with_the_one_after_it(tmp_path):
    log = workload(tmp_path, events(LONG + SHORT))
    corpus = group_corpus(log, [0])
    train = log.sequences("train").items[:8].tolist()
    kept = corpus.kept
    assert corpus.tokens[kept].tolist() == [*train[3:8], *train[:3]]
    assert corpus.next_tokens[kept].tolist() == [*train[4:8], 0, *train[1:4]]
    assert not corpus.next_tokens[~kept].any() and not corpus.tokens[~kept].any()
    assert group_corpus(log, [0, 1]).kept.sum() == 10


def test_nobody_elses_events_matter_and_a_group_without_any_is_refused(tmp_path):
    both = workload(tmp_path, events(LONG + SHORT))
    corpus = group_corpus(both, [1])
    words = [both.meta.vocabulary[item] for item in corpus.tokens[corpus.kept].tolist()]
    assert words == ["y", "p"]
    with pytest.raises(InputError, match="none of the 2 has events to train on"):
        group_corpus(both, [5, 6])


def test_members_of_a_group_are_told_by_the_table_of_users():
    users = pa.table({"user": [0, 1, 2, 3], "group": ["train", "test", "train", "valid"]})
    assert (members(users, "train"), members(users, "test"), members(users, "none")) == ([0, 2], [1], [])


def test_ranking_by_states_is_the_models_and_so_is_that_by_a_dictionary_that_loses_nothing(tmp_path):
    log = workload(tmp_path, walks(users=30))
    model = log.build("sasrec", d=8, seed=3).eval()
    own = log.ranks(model, "test")
    assert np.array_equal(ranking_with(log, model, "test")(lambda h: h), own)
    assert np.array_equal(ranking_with(log, model, "test")(identity(8).reconstruct), own)
    assert not np.array_equal(ranking_with(log, model, "test")(lambda h: -h), own)
    expected = log.metrics(model, "valid")["ndcg10"]
    assert ranking_of(log, model, "valid")(identity(8)) == pytest.approx(expected, abs=1e-12)


def by_hand(p, x, k, silent):
    """The published losses, a row and a latent at a time."""
    encoder, decoder, b_enc, b_dec = (part.numpy() for part in p)
    x = x.numpy()
    variance, explained, revived = 0.0, 0.0, 0.0
    dead = [j for j in range(len(encoder)) if silent[j]]
    aim = x.shape[1] // 2
    for row in x:
        variance += sum((row[i] - x[:, i].mean()) ** 2 for i in range(len(row)))
        pre = [max(0.0, float(encoder[j] @ (row - b_dec) + b_enc[j])) for j in range(len(encoder))]
        best = sorted(range(len(pre)), key=lambda j: -pre[j])[:k]
        error = sum(pre[j] * decoder[j] for j in best) + b_dec - row
        explained += error @ error
        again = sorted(dead, key=lambda j: -pre[j])[: min(aim, len(dead))]
        guess = sum((pre[j] * decoder[j] for j in again), np.zeros(len(row))) + b_dec
        revived += (guess - error) @ (guess - error)
    scale = min(len(dead) / aim, 1.0) if dead else 0.0
    return explained / variance, scale * revived / variance


@pytest.mark.parametrize("silent", [[0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0]])
def test_published_losses_are_those_of_the_authors_code(silent):
    p, x = parameters(), torch.randn(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    fvu, aux, active = published_losses(p, x, 2, torch.tensor(silent) > 0)
    expected = by_hand(p, x, 2, silent)
    assert (float(fvu), float(aux)) == pytest.approx(expected, abs=1e-9)
    assert active.shape == (7, 2)
    first, nothing, _ = published_losses(p, x, 2, None)
    assert float(first) == pytest.approx(expected[0], abs=1e-9) and float(nothing) == 0


def test_gradients_flow_through_the_published_aim():
    p = parameters()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for part in p:
        part.requires_grad_(True)
    silent = torch.tensor([False, True, False, True, False, False])
    active = published_losses(p, x, 2, silent)[2].flatten().unique()
    published_losses(p, x, 2, silent)[1].backward()
    heard = [j for j in active.tolist() if not silent[j]]
    assert heard and all(p.decoder.grad[j].abs().max() > 0 for j in heard)


def fitted(judge=lambda found: 0.0, **changes):
    generator = torch.Generator().manual_seed(4)
    code = torch.rand(400, 5, generator=generator) * (torch.rand(400, 5, generator=generator) < 0.3)
    rows = code @ torch.nn.functional.normalize(torch.randn(5, 8, generator=generator), dim=1)
    settings = {"width": 16, "k": 3, "epochs": 12, "batch_size": 32, "learning_rate": 5e-3, "seed": 0, **changes}
    return rows, *fit_published(rows, judge=judge, **settings)


def test_the_published_fit_explains_sparse_rows_and_is_its_seeds():
    rows, found, history = fitted(lambda d: -float((d.reconstruct(ROWS) - ROWS).square().sum()))
    left = (found.reconstruct(rows) - rows).square().sum() / (rows - rows.mean(0)).square().sum()
    assert float(left) < 0.25
    told = [value for metric, value, _ in history if metric == "fvu"]
    assert told[-1] < told[0] / 2
    assert [step for metric, _, step in history if metric == "judged"] == [13 * e for e in range(1, 13)]
    again = fitted()[1]
    assert torch.equal(fitted()[1].W_dec, again.W_dec)
    assert not torch.equal(fitted(seed=1)[1].W_dec, again.W_dec)
    assert torch.allclose(found.W_dec.norm(dim=1), torch.ones(16), atol=1e-5)


ROWS = fitted(epochs=1)[0]


def test_the_epoch_that_is_judged_best_is_kept():
    seen = []

    def judge(found):
        seen.append(found)
        return [0.1, 0.9, 0.3][len(seen) - 1]

    _, found, history = fitted(judge, epochs=3)
    assert found is seen[1]
    assert [value for metric, value, _ in history if metric == "judged"] == [0.1, 0.9, 0.3]


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(InputError, match="k: 16 of 16 latents"):
        fitted(k=16)
    with pytest.raises(InputError, match="k: 0 of 16 latents"):
        fitted(k=0)
    with pytest.raises(InputError, match="epochs: 0; train for one or more"):
        fitted(epochs=0)
    with pytest.raises(InputError, match="learning_rate: 1e\\+30 diverges in epoch"):
        fitted(learning_rate=1e30)


def test_the_fit_is_adam_on_the_published_loss_reviving_what_the_epoch_before_left_silent():
    seen: list[Dictionary] = []
    rows, found, _ = fitted(lambda one: seen.append(one) or len(seen), width=40, epochs=3, k=2)
    generator = torch_generator(0, "published autoencoder")
    encoder = ((2 * torch.rand(40, 8, generator=generator) - 1) / 8**0.5).requires_grad_()
    decoder = encoder.detach().clone().requires_grad_()
    b_enc, b_dec = torch.zeros(40, requires_grad=True), torch.zeros(8, requires_grad=True)
    adam = torch.optim.Adam([encoder, decoder, b_enc, b_dec], lr=5e-3)
    silent, revived = None, 0.0
    for _ in range(3):
        decoder.data = torch.nn.functional.normalize(decoder.data, dim=1)
        heard = set()
        for part in rows[torch.randperm(400, generator=generator)].split(32):
            fvu, aux, active = published_losses(Published(encoder, decoder, b_enc, b_dec), part, 2, silent)
            adam.zero_grad()
            (fvu + aux / 32).backward()
            adam.step()
            heard |= set(active.flatten().tolist())
            revived += float(aux.detach())
        silent = torch.tensor([latent not in heard for latent in range(40)])
    assert revived > 0
    assert torch.allclose(found.W_enc, encoder.detach().T, atol=1e-5)
    assert torch.allclose(found.W_dec, torch.nn.functional.normalize(decoder.detach(), dim=1), atol=1e-5)
    assert torch.allclose(found.b_enc, b_enc.detach(), atol=1e-5)
    assert torch.allclose(found.b_dec_out, b_dec.detach(), atol=1e-5) and torch.equal(found.b_dec_in, found.b_dec_out)


def test_of_epochs_that_are_judged_alike_the_first_is_kept():
    seen = []
    _, found, _ = fitted(lambda one: seen.append(one) or 0.5, epochs=3)
    assert found is seen[0]
