"""Decode from caches whose bits fall with the age of a token, and from those they are compared with."""

from winnow.pipeline import stage


@stage(torch=True)
def kv_quantise(inputs, outputs, params, log):
    """Write what each cache loses and weighs at each cut, how it grows with the tokens, and its speed."""
    import pyarrow as pa

    from winnow.evaluate import kv_quantise_study as study
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload, model = load_workload(inputs.train.parent), load_model(inputs.model)
    tables, timings, sizes = [], [], []
    for cut in params.cuts:
        those = study.told(model, workload, cut, params.judged)
        progress = Progress(log, f"{cut.segments} segments of {cut.segment} tokens", "caches")
        policies = list(study.policies(cut, params.uniform, params.staircases, params.reordered))
        for done, policy in enumerate(policies):
            labels = {"system": policy.system, "variant": policy.variant(cut), "workload": params.workload}
            labels |= {"seed": params.seed, "split": "test"}
            units = {"divergence": "nats", "share": "share", "bits": "bits"}
            tables.append(metric_rows(study.decoded(model, policy, cut, those), units=units, **labels))
            speed = {"tokens_per_second": study.tokens_per_second(model, policy, cut, those)}
            timings.append(metric_rows(speed, units={"tokens_per_second": "tokens a second"}, **labels))
            progress(done + 1, len(policies))
        channels, step = those.keys_and_values[0][0].shape[-1], cut.segment // 4 or 1
        lengths = range(step, 4 * cut.segment * cut.segments + 1, step)
        for policy in policies:
            if policy.system in ("full", "uniform", "staircase"):
                rows = study.sizes(policy, channels, lengths)
                sizes += [row | {"segment": cut.segment, "segments": cut.segments} for row in rows]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(timings), outputs.timings)
    write_parquet(pa.Table.from_pylist(sizes), outputs.sizes)
