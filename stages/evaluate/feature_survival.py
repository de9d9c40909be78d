"""Look for the features of dense models' dictionaries in the dictionaries of compressed and of retrained models."""

from winnow.pipeline import stage


@stage(torch=True)
def feature_survival(inputs, outputs, params, log):
    """Write the share of features that survive, beside chance and retraining, and a table of every feature."""
    import pyarrow as pa

    from winnow.dictionaries.dictionary import load
    from winnow.evaluate.feature_survival import survival
    from winnow.models import load_model
    from winnow.models.hooks import capture_split
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    found = {}
    for path, model_path in zip(inputs.dictionaries, inputs.models, strict=True):
        dictionary = load(path)
        rows = capture_split(load_model(model_path), workload, "test", dictionary.info["hook"])
        seed = int(path.parent.name.removeprefix("seed"))
        found[dictionary.info["model"], seed] = dictionary.W_dec.numpy(), dictionary.dense(rows).numpy()
    seeds = sorted(seed for model, seed in found if model == params.dense)
    # The next seed's dense model is a retrained one: what differs there differs without any compression.
    pairs = [
        (seed, model, other) for seed in seeds for model, other in found if other == seed and model != params.dense
    ]
    pairs += [(seed, "retrained", seeds[(i + 1) % len(seeds)]) for i, seed in enumerate(seeds) if len(seeds) > 1]
    progress = Progress(log, "survival", "pairs of dictionaries")
    tables, features = [], []
    for done, (seed, variant, other) in enumerate(pairs):
        dense, compared = (
            found[params.dense, seed],
            found[params.dense if variant == "retrained" else variant, other],
        )
        for by in ("activation", "decoder"):
            result = survival(
                dense[0],
                compared[0],
                dense[1],
                compared[1],
                by=by,
                chance_quantile=params.chance_quantile,
                seed=seed,
            )
            labels = {
                "system": f"matched_by_{by}",
                "workload": params.workload,
                "variant": variant,
                "seed": seed,
            }
            prefix = "retrained_" if variant == "retrained" else ""
            summary = {f"{prefix}{name}": value for name, value in result.summary.items()}
            tables.append(metric_rows(summary, split="test", **labels))
            count = result.features.num_rows
            for name, value in labels.items():
                kind = pa.int32() if name == "seed" else pa.string()
                result = result._replace(features=result.features.append_column(name, pa.array([value] * count, kind)))
            features.append(result.features)
        progress(done + 1, len(pairs))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(features), outputs.features)
