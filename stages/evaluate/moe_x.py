"""Train language models of bytes with dense layers and with experts, and look at what their units tell."""

from winnow.pipeline import stage


@stage(torch=True)
def moe_x(inputs, outputs, params, log):
    """Write scores of each kind of layer, histories, models, what units tell, and the requests for experts."""
    import time

    import pyarrow as pa
    from safetensors.torch import save_file

    from winnow.evaluate import moe_x_study as study
    from winnow.evaluate import moe_x_units as units
    from winnow.evaluate import paged_experts as paging
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.train.byte_language import joined_bytes
    from winnow.workloads.traces import trace_table

    train, test = (read_parquet(path, ["text"])["text"].to_pylist() for path in (inputs.train, inputs.test))
    text, (symbols, marks) = joined_bytes(train), study.labelled(test)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    rows, histories, tensors, traces, models, begun = [], [], {}, {}, {}, {}
    features, experts, at_work, asking = [], [], {}, study.texts(symbols, params)

    def told(name, model):
        found = units.judged(model, symbols, marks, params)
        log.info("%s: %s", name, found.values)
        at_work[name] = found.values["l0"]
        rows.extend(units.rows_of(name, found))
        features.extend({"arm": name, "seed": params.seed} | row for row in found.features)
        experts.extend({"arm": name, "seed": params.seed} | row for row in found.experts)

    for arm in study.ARMS:
        model, history = study.trained(arm, text, params, Progress(log, arm.name), begun)
        models[arm.name] = model
        told(arm.name, model)
        histories.append(metric_rows(history, system=arm.name, variant="trained", **labels))
        tensors |= {f"{arm.name}/{name}": each.detach().contiguous() for name, each in model.state_dict().items()}
        if arm.experts:
            traces[arm.name] = study.requested(model, asking, params)
    for name, share in (("dictionary", 1), ("dictionary_sparse", 1 / 8)):
        told(name, study.spliced(models["dense"], text, share * at_work["moe_x"], params, Progress(log, name)))
    rows += paging.cached(traces, params)
    save_file(dict(sorted(tensors.items())), outputs.models)
    reading = (models["moe_x"], outputs.models, "moe_x/", asking)
    found, seconds = paging.with_few_in_memory(*reading, params.cached, params.seed, time.perf_counter)
    rows += found
    places = units.encoder_map(models["moe_x_upcycled"], params.mapped, params.seed)
    for output, of in ((outputs.metrics, rows), (outputs.timings, seconds)):
        tables = [metric_rows(values, system=system, variant=variant, **labels) for system, variant, values in of]
        write_parquet(pa.concat_tables(tables), output)
    for output, table in ((outputs.features, features), (outputs.experts, experts), (outputs.encoders, places)):
        write_parquet(pa.Table.from_pylist(table), output)
    write_parquet(pa.concat_tables(histories), outputs.history)
    write_parquet(trace_table(traces), outputs.traces)
