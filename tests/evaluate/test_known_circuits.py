"""A planted circuit is what it says: its heads hand on, all others write where nothing of it reads."""

import pytest
import torch

from winnow.evaluate import known_circuits
from winnow.randomness import torch_generator


@pytest.mark.parametrize("seed", range(2))
def test_of_a_planted_circuit_no_other_head_changes_any_logit_and_each_of_its_heads_does(seed):
    model, circuit = known_circuits.planted_circuit(seed)
    tokens = torch.randint(1, known_circuits.VOCABULARY, (6, known_circuits.LENGTH), generator=torch.Generator())
    plain = model(tokens).detach()
    assert circuit.sum(1).tolist() == [known_circuits.IN_CIRCUIT] * known_circuits.LAYERS
    for layer, head in torch.cartesian_prod(torch.arange(known_circuits.LAYERS), torch.arange(known_circuits.HEADS)):

        def silent(z, head=head):
            z = z.clone()
            z[:, :, head] = 0
            return z

        changed = model.run(tokens, patch={f"blocks.{layer}.attn.hook_z": silent})[0].detach()
        moved = float((changed - plain).abs().max() / plain.abs().max())
        assert moved > 1e-2 if circuit[layer, head] else moved < 1e-5


def test_a_head_of_an_early_layer_writes_nothing_that_logits_read():
    model, circuit = known_circuits.planted_circuit(0)
    for layer in range(known_circuits.LAYERS - 1):
        written = model.blocks[layer].attn.output_weights()
        assert float((written @ model.unembed.weight.T).detach().abs().max()) < 1e-5


def parts_of(model, layer, head):
    """What a head reads by float[size, d] and writes by float[d, size]."""
    block, part = model.blocks[layer].attn, slice(10 * head, 10 * head + 10)
    return block.value.weight[part], block.output.weight[:, part]


def test_heads_of_the_circuit_read_what_those_before_have_written_and_nothing_else():
    model, circuit = known_circuits.planted_circuit(3)
    chosen = [[head for head in range(4) if circuit[layer, head]] for layer in range(3)]
    written = [[model.embed.weight.T], *([parts_of(model, i, head)[1] for head in chosen[i]] for i in range(3))]
    readers = [*([parts_of(model, i, head)[0] for head in chosen[i]] for i in range(3)), [model.unembed.weight]]
    for place, reads in enumerate(readers):
        for source, writes in enumerate(written):
            sizes = [float((read @ write).norm()) for read in reads for write in writes]
            assert min(sizes) > 1 if source == place else max(sizes) < 1e-4
    for layer in range(3):
        for head in set(range(4)) - set(chosen[layer]):
            read, write = parts_of(model, layer, head)
            assert max(float((reader @ write).norm()) for those in readers for reader in those) < 1e-4
            assert min(float((read @ source).norm()) for those in written for source in those) > 1


def test_all_heads_are_as_large_and_look_at_all_tokens_alike():
    sizes = {True: [], False: []}
    for seed in range(6):
        model, circuit = known_circuits.planted_circuit(seed)
        for layer in range(3):
            for head in range(4):
                sizes[bool(circuit[layer, head])].append(
                    [float(p.square().sum()) for p in parts_of(model, layer, head)]
                )
        assert float(model.embed.weight.square().mean()) == pytest.approx(9 / 40, rel=0.2)
        assert float(model.unembed.weight.square().mean()) == pytest.approx(9 / 40, rel=0.2)
    for found in sizes.values():
        # 3 times normal numbers, of unit length a row: 9 for each of 10 rows read by, and of 8 directions written to.
        assert torch.tensor(found).mean(0).tolist() == pytest.approx([90, 72], rel=0.15)
    tokens = torch.randint(1, known_circuits.VOCABULARY, (2, 5), generator=torch.Generator().manual_seed(0))
    logits, saved = model.run(tokens, save=["blocks.1.attn.hook_pattern", "blocks.1.hook_mlp_out"])
    even = torch.tril(torch.ones(5, 5)) / torch.arange(1, 6)[:, None]
    torch.testing.assert_close(saved["blocks.1.attn.hook_pattern"], even.expand(2, 4, 5, 5))
    assert not saved["blocks.1.hook_mlp_out"].any() and logits.shape == (2, 5, 24) and not model.training


def test_another_seed_turns_rooms_and_chooses_other_heads():
    first, other = known_circuits.planted_circuit(0), known_circuits.planted_circuit(1)
    assert not torch.equal(first[1], other[1]) and len({tuple(row) for row in first[1].tolist()}) > 1
    assert not torch.allclose(first[0].embed.weight, other[0].embed.weight)


@pytest.fixture(scope="module")
def answer():
    return known_circuits.circuits(0)


def test_methods_that_follow_effects_know_the_heads_and_direct_paths_do_not(answer):
    scores = {name: answer.agreement(said) for name, said in answer.said.items()}
    assert scores["circuit: activation patching"] == scores["circuit: contextual decomposition"] == 1
    assert scores["circuit: path patching in rounds"] == scores["circuit: attribution patching"] == 1
    assert scores["circuit: direct paths"] < 1


def test_what_patching_says_is_the_fall_of_the_first_choice_above_the_mean(answer):
    """Of one head, by hand: at each token its output is replaced by its mean over other sentences."""
    model, circuit = known_circuits.planted_circuit(0)
    generator = torch_generator(0, "known answers", "prompts")
    tokens, reference = (torch.randint(1, 24, (40, 5), generator=generator) for _ in range(2))
    hook, head = "blocks.1.attn.hook_z", int(circuit[1].nonzero()[0])
    mean = model.run(reference, save=[hook])[1][hook].mean(0)[:, head]
    plain = model(tokens)[:, -1]
    best = plain.argmax(1)

    def told(logits):
        return (logits.gather(1, best[:, None])[:, 0] - logits.mean(1)).mean()

    falls = []
    for place in range(5):

        def without(z, place=place):
            z = z.clone()
            z[:, place, head] = mean[place]
            return z

        falls.append(float(told(plain) - told(model.run(tokens, patch={hook: without})[0][:, -1])))
    said = answer.said["circuit: activation patching"]
    assert said.shape == circuit.shape
    assert float(said[1, head]) == pytest.approx(sum(map(abs, falls)), rel=1e-4)


def test_rounds_go_back_through_all_layers_with_as_many_nodes_as_the_circuit_has(answer):
    """So every head of the circuit is told, also those of the first layer, and those of early layers by later ones."""
    model, circuit = known_circuits.planted_circuit(0)
    said = answer.said["circuit: path patching in rounds"]
    assert float(said[circuit].min()) > 100 * float(said[~circuit].max())
    direct = answer.said["circuit: direct paths"]
    assert float(direct[:2].max()) < 1e-4 * float(direct[2][circuit[2]].min())
