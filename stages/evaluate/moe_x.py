"""Train language models of bytes with dense layers and with experts, and look at what their units tell."""

from winnow.pipeline import stage


@stage(torch=True)
def moe_x(inputs, outputs, params, log):
    """Write scores of each kind of layer, histories, models, what units tell, and the requests for experts."""
    import numpy as np
    import pyarrow as pa
    from safetensors.torch import save_file

    from winnow.evaluate import moe_x_study as study
    from winnow.evaluate import moe_x_units as units
    from winnow.evaluate.paging_study import on_trace
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.train.byte_language import joined_bytes, windows_at
    from winnow.train.moe_x import expert_trace
    from winnow.workloads.traces import trace_table

    train, test = (read_parquet(path, ["text"])["text"].to_pylist() for path in (inputs.train, inputs.test))
    text, (symbols, marks) = joined_bytes(train), study.labelled(test)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    tables, histories, tensors, traces, models, begun = [], [], {}, {}, {}, {}
    features, experts, at_work = [], [], {}

    def told(name, model):
        found = units.judged(model, symbols, marks, params)
        log.info("%s: %s", name, found.values)
        at_work[name] = found.values["l0"]
        tables.append(metric_rows(found.values, system=name, variant="trained", **labels))
        for layer, value in enumerate(found.layers, start=1):
            merit = {"router_correlation": value}
            tables.append(metric_rows(merit, system=name, variant=f"trained, layer {layer}", **labels))
        features.extend({"arm": name, "seed": params.seed} | row for row in found.features)
        experts.extend({"arm": name, "seed": params.seed} | row for row in found.experts)

    for arm in study.ARMS:
        model, history = study.trained(arm, text, params, Progress(log, arm.name), begun)
        models[arm.name] = model
        told(arm.name, model)
        histories.append(metric_rows(history, system=arm.name, variant="trained", **labels))
        tensors |= {f"{arm.name}/{name}": each.detach().contiguous() for name, each in model.state_dict().items()}
        if arm.experts:
            starts = params.context * np.arange(len(symbols) // params.context)
            longest = -(-params.requests // (params.context * params.k * params.layers))
            x = windows_at(symbols, starts[:longest], params.context)
            traces[arm.name] = expert_trace(model, x)[: params.requests].numpy()
    for name, share in (("dictionary", 1), ("dictionary_sparse", 1 / 8)):
        target, progress = share * at_work["moe_x"], Progress(log, name)
        told(name, study.spliced(models["dense"], text, target, params, progress))
    for name, trace in traces.items():
        for policy, found in on_trace(trace, params.cached, params.seed).items():
            tables.append(metric_rows(found, system="expert_cache", variant=f"{policy}-{name}", **labels))
    places = units.encoder_map(models["moe_x_upcycled"], params.mapped, params.seed)
    for table, output in ((features, outputs.features), (experts, outputs.experts), (places, outputs.encoders)):
        write_parquet(pa.Table.from_pylist(table), output)
    save_file(dict(sorted(tensors.items())), outputs.models)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(histories), outputs.history)
    write_parquet(trace_table(traces), outputs.traces)
