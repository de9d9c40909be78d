"""Train language models of bytes with positions of several kinds, and ask them about longer contexts."""

from winnow.pipeline import stage


@stage(torch=True)
def rope_alibi(inputs, outputs, params, log):
    """Write losses at each length, the copying probe, losses within a long window, histories and the models."""
    import pyarrow as pa
    from safetensors.torch import save_file

    from winnow.evaluate import rope_alibi_study as study
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.train.byte_language import joined_bytes

    train, valid, test = (
        joined_bytes(read_parquet(path, ["text"])["text"].to_pylist())
        for path in (inputs.train, inputs.valid, inputs.test)
    )
    tables, histories, inside, tensors, longest = [], [], [], {}, max(params.lengths)
    losses, at_trained = {}, {}
    for arm in study.arms(params.modes, vars(params.strengths), params.learned):
        labels = {"system": arm.mode, "workload": params.workload, "seed": params.seed}
        model, history = study.trained(arm, train, params, Progress(log, arm.name))
        every = study.losses_at_lengths(model, test, params.lengths, params.windows, params.seed)
        losses[arm] = {length: each[:, -params.judged :].mean(1) for length, each in every.items()}
        if arm.mode in study.SWEPT:
            told = study.losses_at_lengths(model, valid, [params.context], params.windows, params.seed)
            at_trained[arm] = float(told[params.context][:, -params.judged :].mean())
        for length, each in losses[arm].items():
            values = {"cross_entropy": each.mean(), "standard_error": each.std(ddof=1) / len(each) ** 0.5}
            named = {"variant": f"length {length}{arm.suffix}", "units": dict.fromkeys(values, "nats/byte")}
            tables.append(metric_rows(values, split="test", **named, **labels))
        for row in study.learned_strengths(model):
            named = {"variant": f"layer {row['layer'] + 1}, head {row['head'] + 1}", **labels}
            tables.append(metric_rows({"strength": row["strength"]}, split="train", **named))
        if arm.strength is None:  # other strengths are about lengths alone
            copied = {"copied": study.copying(arm, params, Progress(log, f"{arm.name}, copying"))}
            named = {"variant": f"copying{arm.suffix}", "units": {"copied": "share"}}
            tables.append(metric_rows(copied, split="test", **named, **labels))
        histories.append(metric_rows(history, variant=f"trained{arm.suffix}", split="train", **labels))
        rows = study.profile(every[longest], len(params.lengths) * 4)
        inside += [row | {"arm": arm.name, "seed": params.seed} for row in rows]
        tensors |= {f"{arm.name}/{name}": each.contiguous() for name, each in model.state_dict().items()}
    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    for mode, arm in study.chosen_strengths(at_trained).items():
        for length, each in losses[arm].items():
            named = {"variant": f"length {length}", "units": {"cross_entropy": "nats/byte"}, **labels}
            tables.append(metric_rows({"cross_entropy": each.mean()}, system=f"{mode}_chosen", **named))
    for arm, length, values in study.paired(losses, params.seed):
        named = {"variant": f"length {length}{arm.suffix}", "units": dict.fromkeys(values, "nats/byte"), **labels}
        tables.append(metric_rows(values, system=arm.mode, **named))
    save_file(dict(sorted(tensors.items())), outputs.models)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(histories), outputs.history)
    write_parquet(pa.Table.from_pylist(inside), outputs.inside)
    write_parquet(pa.Table.from_pylist(study.by_window(losses, params.seed)), outputs.windows)
