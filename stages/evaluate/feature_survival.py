"""Look for the features of dense models' dictionaries in those of compressed, retrained and refitted ones."""

from winnow.pipeline import stage


@stage(torch=True)
def feature_survival(inputs, outputs, params, log):
    """Write the share of features that survive, beside chance, a retrained model and a refit, and a row per feature."""
    import pyarrow as pa

    from winnow.dictionaries.dictionary import load
    from winnow.dictionaries.on_models import sae_config
    from winnow.dictionaries.sae import fit
    from winnow.evaluate.feature_survival import survival
    from winnow.models import load_model
    from winnow.models.hooks import capture_split
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.randomness import stream_seed
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    found, refitted = {}, {}
    for path, model_path in zip(inputs.dictionaries, inputs.models, strict=True):
        dictionary, model = load(path), load_model(model_path)
        hook, seed = dictionary.info["hook"], int(path.parent.name.removeprefix("seed"))
        rows = capture_split(model, workload, "test", hook)
        found[dictionary.info["model"], seed] = dictionary.W_dec.numpy(), dictionary.dense(rows).numpy()
        if dictionary.info["model"] == params.dense:
            again = {"seed": stream_seed(seed, "survival", "refit"), "threads": params.torch_threads}
            config = sae_config(params.fit.architecture, params.fit.k or params.fit.penalty, params.fit, **again)
            checkpoint = params.resume_folder / f"refit{seed}.safetensors"
            refit, _ = fit(capture_split(model, workload, "train", hook), config, checkpoint=checkpoint)
            refitted[seed] = refit.W_dec.numpy(), refit.dense(rows).numpy()
    seeds = sorted(refitted)
    pairs = [(s, name, "", found[name, s]) for s in seeds for name, of in found if of == s and name != params.dense]
    # Nothing compressed: the next seed's model is trained anew, the refit has another seed of the dictionary alone.
    following = dict(zip(seeds, seeds[1:] + seeds[:1], strict=True))
    pairs += [(s, "retrained", "retrained_", found[params.dense, following[s]]) for s in seeds if len(seeds) > 1]
    pairs += [(s, "refitted", "refit_", refitted[s]) for s in seeds]
    progress = Progress(log, "survival", "pairs of dictionaries")
    tables, features = [], []
    for done, (seed, variant, prefix, (decoder, codes)) in enumerate(pairs):
        dense, dense_codes = found[params.dense, seed]
        for by in ("activation", "decoder"):
            options = {"by": by, "chance_quantile": params.chance_quantile, "seed": seed}
            result = survival(dense, decoder, dense_codes, codes, **options)
            labels = {"system": f"matched_by_{by}", "workload": params.workload, "variant": variant, "seed": seed}
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
