"""Explain test images from baselines that a bandit chooses, beside baselines and explainers without a choice."""

from winnow.pipeline import stage


@stage(torch=True)
def bee(inputs, outputs, params, log):
    """Write the scores of every draw, the families drawn, the policies, and means over images."""
    import numpy as np
    import pyarrow as pa
    from safetensors.numpy import save_file

    from winnow.attribution.saliency_metrics import METRICS
    from winnow.evaluate.bee import FAMILIES
    from winnow.evaluate.bee_comparison import (
        Material,
        arm_table,
        arms_differ,
        compare,
        fill_of,
        policy_tensors,
        qualities,
        score_table,
    )
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    train, test = (workload.arrays(s)[0][:n] for s, n in (("train", params.train_images), ("test", params.test_images)))
    material = Material.of(load_model(inputs.model), params.layer, train, test)
    black = workload.standardise(np.zeros_like(workload.pixels("train")[:1]))
    fill = fill_of(params.fill, test, black)
    found = compare(material, params.layer, params.metrics, params.draws, params.seed, fill, params.steps)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    tables = [
        metric_rows(values, system=method, variant=f"{metric}-t{draws}", **labels)
        for (method, metric, draws), values in qualities(found.scores).items()
    ]
    for (phase, metric), arms in found.arms.items():
        shares = np.bincount(arms, minlength=len(FAMILIES)) / len(arms)
        values = {f"share_{name}": share for name, share in zip(FAMILIES, shares, strict=True)}
        tables.append(metric_rows(values, system=phase, variant=metric, **labels))
    p = {"p_value": arms_differ(found.arms, "pretraining")}
    tables.append(metric_rows(p, system="pretraining", variant="all", **labels))
    for (chosen, scored), scores in found.crossed.items():
        score = float(np.nanmean(scores)) if np.isfinite(scores).any() else None
        sign = 1 if METRICS[scored].higher_is_better else -1
        values = {"score": score, "quality": None if score is None else sign * score}
        tables.append(metric_rows(values, system=f"chosen_by_{chosen}", variant=scored, **labels))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(score_table(found.scores), outputs.scores)
    write_parquet(arm_table(found.arms), outputs.arms)
    save_file(policy_tensors(found.policies), outputs.policies)
