"""Which jobs a target asks for: what is optional is left out until it is named, and kept once it is made."""

import pytest

from tests.workflow.conftest import ROOT
from winnow.errors import InputError
from winnow.pipeline.workflow import Workflow


def planned_files(checkout, *arguments):
    """The plan of a dry run as text, with its inputs and outputs."""
    done = checkout.run("snakemake", "-n", *arguments)
    return done.stdout + done.stderr


def test_the_default_target_leaves_out_what_is_optional_and_a_workloads_own_target_does_not(sources_only):
    assert not {"bee", "diffroar", "render_parts"} & set(sources_only.snakemake("-n"))
    whole = sources_only.snakemake("-n", "digits")
    assert whole["bee"] == whole["plot_bee"] == whole["claims"] == whole["summarise"] == 1
    one = planned_files(sources_only, "digits_bee")
    assert "results/digits/evaluate/bee/seed0/metrics.parquet" in one and "results/claims.parquet" not in one


def test_a_workload_by_itself_has_a_ledger_of_what_was_measured_on_it(sources_only):
    plan = planned_files(sources_only, "small_digits")
    assert "results/claims.parquet" in plan and "results/small_digits/evaluate/criteria_mlp/seed0" in plan
    assert "results/digits/" not in plan and "results/planted/" not in plan


def test_what_was_made_once_belongs_to_the_whole(checkout):
    made = checkout.snakemake("digits_bilevel_groups")
    assert made["bilevel"] == 1 and "claims" not in made
    assert checkout.snakemake("-n") == {"claims": 1, "summarise": 1}
    checkout.snakemake()
    assert checkout.snakemake("-n") == {}
    checkout.edit("scales/smoke.yaml", "bilevel_groups: {keep: [0.5]", "bilevel_groups: {keep: [0.4]")
    assert checkout.snakemake("-n")["bilevel"] == 1


def test_a_workload_that_is_part_of_another_is_made_with_it_and_by_itself(sources_only):
    both, alone = planned_files(sources_only, "sonar"), planned_files(sources_only, "sonar_objects")
    objects = "results/sonar_objects/evaluate/lime_images/localisation.svg"
    assert objects in both and "summaries/sonar.json" in both
    assert objects in alone and "summaries/sonar.json" not in alone


@pytest.mark.parametrize(
    ("workload", "section", "target"),
    [
        ("sonar_objects", {"part_of": "sonar_objects"}, "sonar_objects"),
        ("sonar_objects", {"part_of": "all"}, "all"),
        ("digits", {"evaluate": {"local_interaction_basis": {"part_of": "digits"}}}, "digits"),
    ],
)
def test_nothing_is_part_of_what_makes_it_already(workload, section, target):
    told = f"params.yaml: {workload}.part_of: {target!r} makes it already; name another target"
    with pytest.raises(InputError) as caught:
        Workflow(ROOT, {"scale": "smoke", workload: section}, list)
    assert str(caught.value) == told


def test_what_another_target_makes_is_left_to_it_with_its_pictures_and_the_ledger(sources_only):
    whole, part = planned_files(sources_only, "python"), planned_files(sources_only, "dictionaries")
    for made in (
        "evaluate/transcoder/pareto.svg",
        "evaluate/plots/recovered.svg",
        "dictionaries/topk-on-lm_code/seed0",
        "dictionaries/topk-on-lm_code/density.svg",
    ):
        assert f"results/python/{made}" in part and f"results/python/{made}" not in whole
    assert "results/python/train/multi_query/seed0/model.safetensors" in whole
    assert "results/python/train/lm_code/seed0" in part and "results/python/train/lm_code/seed0" not in whole
    assert "results/claims.parquet" in part and "results/algorithmic/evaluate/pareto/seed0" in part
    # Of workloads that are optional a family makes nothing.
    assert "results/fashion/" not in part and "results/digits/dictionaries/" in part


def test_pruned_prototypes_are_made_for_what_names_them_and_not_measured_with_all_models(sources_only):
    pruned = "results/parts/compress/prototypes_both-prototypes-s50/seed0/model.safetensors"
    assert pruned in planned_files(sources_only, "parts_compression_effects")
    rest = planned_files(sources_only, "parts_evaluate")
    assert "results/parts/evaluate/models/metrics.parquet" in rest and pruned not in rest
    assert "results/parts/evaluate/plots/speed.svg" not in rest
