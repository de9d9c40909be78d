"""Train language models of bytes with dense layers and with experts, and look at what their units tell."""

from winnow.pipeline import stage


@stage(torch=True)
def moe_x(inputs, outputs, params, log):
    """Write scores of each kind of layer, histories, the models, and the requests for experts with their faults."""
    import numpy as np
    import pyarrow as pa
    from safetensors.torch import save_file

    from winnow.evaluate import moe_x_study as study
    from winnow.evaluate.paging_study import on_trace
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.train.byte_language import joined_bytes, windows_at
    from winnow.train.moe_x import expert_trace
    from winnow.workloads.traces import trace_table

    train, test = (read_parquet(path, ["text"])["text"].to_pylist() for path in (inputs.train, inputs.test))
    text, (symbols, marks) = joined_bytes(train), study.labelled(test)
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    tables, histories, tensors, traces = [], [], {}, {}
    for arm in study.ARMS:
        model, history = study.trained(arm, text, params, Progress(log, arm.name))
        values = study.judged(model, symbols, marks, params)
        log.info("%s: %s", arm.name, values)
        tables.append(metric_rows(values, system=arm.name, variant="trained", **labels))
        histories.append(metric_rows(history, system=arm.name, variant="trained", **labels))
        tensors |= {f"{arm.name}/{name}": each.detach().contiguous() for name, each in model.state_dict().items()}
        if arm.experts:
            starts = params.context * np.arange(len(symbols) // params.context)
            longest = -(-params.requests // (params.context * params.k * params.layers))
            x = windows_at(symbols, starts[:longest], params.context)
            traces[arm.name] = expert_trace(model, x)[: params.requests].numpy()
    for name, trace in traces.items():
        for policy, found in on_trace(trace, params.cached, params.seed).items():
            tables.append(metric_rows(found, system="expert_cache", variant=f"{policy}-{name}", **labels))
    save_file(dict(sorted(tensors.items())), outputs.models)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(histories), outputs.history)
    write_parquet(trace_table(traces), outputs.traces)
