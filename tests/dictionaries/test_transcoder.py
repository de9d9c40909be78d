"""Transcoders: gradients by autograd, folding, pairs from matrices and stores, and layers that they imitate."""

import math
from dataclasses import replace

import pytest
import torch

from tests.dictionaries.harvesting import harvested
from winnow.dictionaries import load, save
from winnow.dictionaries.architectures import ARCHITECTURES, Settings
from winnow.dictionaries.codes import CompiledBackend, TorchBackend
from winnow.dictionaries.config import SaeConfig
from winnow.dictionaries.dictionary import TENSORS
from winnow.dictionaries.harvest import corpus_of
from winnow.dictionaries.metrics import evaluate
from winnow.dictionaries.on_language import HeldOut, chosen
from winnow.dictionaries.sae import fit
from winnow.dictionaries.store import statistics
from winnow.dictionaries.trainer import Trainer
from winnow.dictionaries.transcoder import fit_transcoder, fit_transcoders
from winnow.errors import InputError

D_IN, D_OUT, M = 5, 7, 11
READ, ADDED = "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"
every_architecture = pytest.mark.parametrize("architecture", list(ARCHITECTURES))
every_backend = pytest.mark.parametrize("backend", [TorchBackend(), CompiledBackend(1), CompiledBackend(2)])
SMALL = SaeConfig(m=40, k=3, steps=30, batch=64, lr=3e-3, backend="torch", target_l0=3.0, l1=0.5)


def layer(count=3000, seed=0, d_in=D_IN, d_out=D_OUT):
    """Rows that go into a random layer with an activation, and what comes out, at scales of their own."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, d_in, generator=generator) * 3 + 1
    up, down = (torch.randn(a, b, generator=generator) for a, b in ((d_in, 16), (16, d_out)))
    return x, (x @ up).relu() @ down * 20 - 5


PAIRS = layer()


def kept(pre, k):
    best = torch.topk(pre, k, dim=1)
    return torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())


def by_definition(architecture, p, x, y):
    """Losses without revival, written anew; jumprelu's straight-through part aside."""
    inner = (x - p["b_in"]) @ p["encoder"].T
    pre = inner + p["b_enc"]
    if architecture == "topk":
        f = kept(pre, 3)
    elif architecture == "batchtopk":
        f = torch.where(pre >= pre.flatten().topk(3 * len(x)).values.min(), pre.relu(), 0)
    elif architecture == "relu_l1":
        f = pre.relu()
    elif architecture == "gated":
        gate = inner + p["b_gate"]
        f = torch.where(gate > 0, (p["log_scale"].exp() * inner + p["b_enc"]).relu(), 0)
    else:
        f = torch.where(pre > p["log_threshold"].exp(), pre, 0)
    loss = (y - f @ p["decoder"] - p["b_dec"]).pow(2).sum(1).mean()
    if architecture == "relu_l1":
        loss = loss + 0.3 * (f * p["decoder"].norm(dim=1)).sum(1).mean()
    if architecture == "gated":
        open_gate = gate.relu()
        loss = loss + 0.3 * (open_gate * p["decoder"].norm(dim=1)).sum(1).mean()
        loss = loss + (y - open_gate @ p["decoder"].detach() - p["b_dec"].detach()).pow(2).sum(1).mean()
    return loss


@every_backend
@every_architecture
def test_gradients_are_those_of_the_error_in_what_comes_out(architecture, backend):
    generator = torch.Generator().manual_seed(1)
    shapes = {"encoder": (M, D_IN), "b_enc": (M,), "decoder": (M, D_OUT), "b_dec": (D_OUT,), "b_in": (D_IN,)}
    extra = {"gated": ("b_gate", "log_scale"), "jumprelu": ("log_threshold",)}.get(architecture, ())
    shapes |= dict.fromkeys(extra, (M,))
    parameters = {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}
    x, y = (torch.randn(9, d, generator=generator, dtype=torch.float64) * 2 for d in (D_IN, D_OUT))
    tracked = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    expected = by_definition(architecture, tracked, x, y)
    expected.backward()
    settings = Settings(backend, k=3, sparsity=0.3 if architecture != "jumprelu" else 0.0, bandwidth=1e-9)
    step = ARCHITECTURES[architecture](parameters, x, settings, y)
    assert step.loss == pytest.approx(expected.item(), abs=1e-9)
    assert set(step.gradients) == set(parameters) and step.residual.shape == (9, D_OUT)
    for name in set(parameters) - {"log_threshold"}:
        torch.testing.assert_close(step.gradients[name], tracked[name].grad, atol=1e-9, rtol=0, msg=name)


@pytest.mark.parametrize(("architecture", "coefficient"), [("topk", 0.5), ("relu_l1", 0.0)])
def test_dead_latents_are_revived_by_the_residual_of_what_comes_out(architecture, coefficient):
    """AuxK and ghost gradients, whose residual lies in the space of the target."""
    generator = torch.Generator().manual_seed(2)
    shapes = {"encoder": (M, D_IN), "b_enc": (M,), "decoder": (M, D_OUT), "b_dec": (D_OUT,), "b_in": (D_IN,)}
    p = {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}
    x, y = (torch.randn(9, d, generator=generator, dtype=torch.float64) for d in (D_IN, D_OUT))
    dead = torch.zeros(M, dtype=torch.bool)
    dead[[1, 4, 7]] = True
    tracked = {name: value.clone().requires_grad_() for name, value in p.items()}
    plain = ARCHITECTURES[architecture](p, x, Settings(k=3), y)
    pre = (x - tracked["b_in"]) @ tracked["encoder"].T + tracked["b_enc"]
    residual = plain.residual
    if architecture == "topk":
        made = kept(pre[:, dead], 2) @ tracked["decoder"][dead]
        added = coefficient * (made - residual).pow(2).sum() / (residual - residual.mean(0)).pow(2).sum()
    else:
        ghost = pre[:, dead].exp() @ tracked["decoder"][dead]
        ghost = ghost * (residual.norm(dim=1, keepdim=True) / (2 * ghost.norm(dim=1, keepdim=True))).detach()
        error = (ghost - residual).pow(2).sum(1).mean()
        added = error * (plain.squared_error / error.detach())
    added.backward()
    found = ARCHITECTURES[architecture](p, x, Settings(k=3, dead=dead, aux_k=2, aux_coefficient=coefficient), y)
    assert found.loss - plain.loss == pytest.approx(float(added.detach()), abs=1e-9)
    for name in ("encoder", "decoder", "b_enc", "b_in"):
        change = found.gradients[name] - plain.gradients[name]
        torch.testing.assert_close(change, tracked[name].grad, atol=1e-9, rtol=0, msg=name)
    assert torch.equal(found.gradients["b_dec"], plain.gradients["b_dec"])


@every_architecture
def test_the_saved_transcoder_takes_raw_rows_and_makes_raw_rows(architecture, tmp_path):
    """Folding two scales: what the trainer makes of scaled rows, the reloaded files make of raw ones."""
    x, y = PAIRS
    trainer = Trainer(replace(SMALL, architecture=architecture), D_IN, statistics(x), statistics(y))
    for batch in torch.cat(PAIRS, 1)[: 64 * 30].split(64):
        trainer.step(batch)
    save(trainer.dictionary(), tmp_path / "dictionary.safetensors")
    found, of = trainer.parameters, load(tmp_path)
    scales = [math.sqrt(part.shape[1]) / float(part.norm(dim=1).mean()) for part in PAIRS]
    assert (trainer.scale, trainer.scale_out) == (
        pytest.approx(scales[0], rel=1e-5),
        pytest.approx(scales[1], rel=1e-5),
    )
    inner = (x[:40] * scales[0] - found["b_in"]) @ found["encoder"].T
    pre = inner + found["b_enc"]
    if architecture == "topk":
        f = kept(pre, 3)
    elif architecture == "gated":
        f = (inner + found["b_gate"] > 0) * (inner * found["log_scale"].exp() + found["b_enc"]).relu()
    else:
        limits = {"jumprelu": found.get("log_threshold", pre).exp(), "batchtopk": trainer.threshold, "relu_l1": 0.0}
        f = pre * (pre > limits[architecture])
    expected = (f @ found["decoder"] + found["b_dec"]) / scales[1]
    torch.testing.assert_close(of.reconstruct(x[:40]), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(of.dense(x[:40]), f / scales[1], atol=1e-4, rtol=1e-4)
    assert of.W_enc.shape == (D_IN, 40) and of.W_dec.shape == (40, D_OUT)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "jumprelu", "gated"])
def test_fitting_imitates_a_layer_better_than_its_mean_does(architecture):
    x, y = PAIRS
    config = replace(SMALL, architecture=architecture, steps=400, batch=256, l1=0.02)
    of, history = fit_transcoder((x, y), config)
    held_x, held_y = layer()[0][:500], layer()[1][:500]
    found = evaluate(of, held_x, held_y).metrics
    assert found["fvu"] < 0.4 and {name for name, _, _ in history} == {"loss", "l0", "dead_fraction", "fvu"}
    missed = (of.reconstruct(held_x) - held_y).square().sum() / (held_y - held_y.mean(0)).square().sum()
    assert found["fvu"] == pytest.approx(float(missed), rel=1e-5)
    first = next(value for name, value, step in history if (name, step) == ("fvu", 0))
    assert first > 2 * found["fvu"]


def test_a_trainer_starts_from_directions_of_both_spaces_and_both_centres():
    x, y = PAIRS
    found = Trainer(SMALL, D_IN, statistics(x), statistics(y)).parameters
    torch.testing.assert_close(found["encoder"].norm(dim=1), torch.full((40,), 0.3))
    torch.testing.assert_close(found["decoder"].norm(dim=1), torch.ones(40))
    assert torch.equal(found["b_in"], statistics(x).centre) and torch.equal(found["b_dec"], statistics(y).centre)
    same = Trainer(SMALL, D_IN, statistics(x), statistics(x)).parameters
    # Drawn apart, also where both spaces have as many dimensions.
    cosine = (same["encoder"] * same["decoder"]).sum(1) / 0.3
    assert cosine.abs().mean() < 0.6 and len({tensor.data_ptr() for tensor in same.values()}) == len(same)


def test_a_history_tells_the_error_of_what_comes_out():
    x, y = PAIRS
    trainer = Trainer(replace(SMALL, lr=1e-9), D_IN, statistics(x), statistics(y))
    made = trainer.dictionary().reconstruct(x[:64])
    trainer.step(torch.cat(PAIRS, 1)[:64])
    missed = (made - y[:64]).square().sum(1).mean() / (y - y.mean(0)).square().sum(1).mean()
    assert {name: value for name, value, _ in trainer.history}["fvu"] == pytest.approx(float(missed), rel=1e-4)


def test_resampled_latents_read_the_row_and_write_its_target():
    config = replace(SMALL, architecture="relu_l1", revive="resample", dead_after=1e-9, steps=8)
    trainer = Trainer(config, D_IN, statistics(PAIRS[0]), statistics(PAIRS[1]))
    x, y = (part[:64] for part in PAIRS)
    trainer.silent[[3, 9]] = 10**9
    read, target, residual = x * trainer.scale, y * trainer.scale_out, torch.zeros(64, D_OUT)
    residual[17] = 1.0
    trainer._resample(read, residual, target)
    found = trainer.parameters
    for latent in (3, 9):
        for name, row in (("encoder", read[17] - found["b_in"]), ("decoder", target[17] - found["b_dec"])):
            direction = found[name][latent] / found[name][latent].norm()
            torch.testing.assert_close(direction, row / row.norm(), atol=1e-6, rtol=1e-5)
    assert found["decoder"][3].norm() == pytest.approx(1, abs=1e-6) and found["encoder"][3].norm() < 0.2


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_a_resumed_fit_equals_the_straight_one_bit_for_bit(architecture, tmp_path):
    config = replace(SMALL, architecture=architecture)
    straight, history = fit_transcoder(PAIRS, config)

    class Broken(Exception):
        pass

    def breaking(done, of):
        if done == 13:
            raise Broken

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Broken):
        fit_transcoder(PAIRS, config, checkpoint=path, checkpoint_every=5, progress=breaking)
    resumed, again = fit_transcoder(PAIRS, config, checkpoint=path)
    for name in TENSORS:
        assert torch.equal(getattr(straight, name), getattr(resumed, name)), name
    assert history == again


def test_many_at_once_equal_one_by_one():
    configs = [replace(SMALL, k=k) for k in (1, 4)]
    for (of, history), config in zip(fit_transcoders(PAIRS, configs), configs, strict=True):
        alone, told = fit_transcoder(PAIRS, config)
        assert torch.equal(of.W_enc, alone.W_enc) and torch.equal(of.W_dec, alone.W_dec) and history == told


def test_pairs_of_a_store_are_those_of_its_matrices(tmp_path, model, workload):
    store = harvested(tmp_path, model, corpus_of(workload, "train"), hooks=(READ, ADDED))
    of, _ = fit_transcoder(store.reading(0, ("x", "y")), SMALL)
    whole = torch.cat(list(store.reading(0, ("x", "y"))))
    again, _ = fit([whole], SMALL, inputs=8)
    for name in TENSORS:
        assert torch.equal(getattr(of, name), getattr(again, name)), name
    with pytest.raises(InputError, match="activations: parts y are read; a transcoder takes x, y"):
        fit_transcoder(store.reading(0, ("y",)), SMALL)


def test_a_transcoder_is_judged_by_the_model_with_its_output_in_the_layers_place(model, workload):
    """The layer as it is loses nothing; a transcoder loses what the model loses with the layer replaced."""
    corpus = chosen(corpus_of(workload, "train"), torch.arange(40))
    held_out = HeldOut(model, corpus, ADDED, READ)
    with torch.no_grad():
        shown = model.run(corpus.tokens, save=[READ, ADDED])[1]
    assert torch.equal(held_out.read, shown[READ][corpus.kept]) and torch.equal(
        held_out.rows, shown[ADDED][corpus.kept]
    )
    of, _ = fit_transcoder((held_out.read, held_out.rows), replace(SMALL, steps=60))
    found = held_out.judge(of)
    made = shown[ADDED].clone()
    made[corpus.kept] = of.reconstruct(shown[READ][corpus.kept])
    with torch.no_grad():
        logits = model.run(corpus.tokens, patch={ADDED: lambda _: made})[0]
    loss = torch.nn.functional.cross_entropy(logits[corpus.kept], corpus.next_tokens[corpus.kept])
    assert found["ce_reconstructed"] == pytest.approx(float(loss), rel=1e-5)
    assert held_out.ablated == HeldOut(model, corpus, ADDED).ablated
    assert found["ce_clean"] == held_out.ablated["clean"]
    exact = held_out.loss(lambda x: model.blocks[1].mlp(x, lambda _, value: value, ""))
    assert exact == pytest.approx(held_out.ablated["clean"], rel=1e-5)


@pytest.mark.parametrize(("inputs", "told"), [(0, "0 of 12"), (12, "12 of 12"), (20, "20 of 12"), (-1, "-1 of 12")])
def test_a_split_that_leaves_nothing_is_named(inputs, told):
    with pytest.raises(InputError, match=f"inputs: {told} dimensions; leave some to be decoded"):
        fit(torch.cat(PAIRS, 1), SMALL, inputs=inputs)


def test_pairs_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="pairs: 3000 rows go in and 2999 come out; capture both in one run"):
        fit_transcoder((PAIRS[0], PAIRS[1][1:]), SMALL)
    trainer = Trainer(SMALL, D_IN, statistics(PAIRS[0]), statistics(PAIRS[1]))
    with pytest.raises(InputError, match="store: rows have 5 dimensions, the dictionary 12"):
        trainer.step(PAIRS[0][:64])


def test_arrays_are_taken_as_tensors_are():
    of, _ = fit_transcoder(PAIRS, SMALL)
    again, _ = fit_transcoder(tuple(part.numpy() for part in PAIRS), SMALL)
    assert torch.equal(of.W_enc, again.W_enc)


def test_targets_of_other_pieces_are_refused():
    of, _ = fit_transcoder(PAIRS, replace(SMALL, steps=1))
    with pytest.raises(InputError, match="targets: 10 rows in a piece of 3000; cut both alike"):
        evaluate(of, [PAIRS[0]], [PAIRS[1][:10], PAIRS[1][10:]])
    with pytest.raises(ValueError, match="zip"):
        evaluate(of, [PAIRS[0]], [PAIRS[1], PAIRS[1]])
    whole, pieces = evaluate(of, *PAIRS), evaluate(of, PAIRS[0].split(700), PAIRS[1].split(700))
    assert whole.metrics["fvu"] == pytest.approx(pieces.metrics["fvu"])
