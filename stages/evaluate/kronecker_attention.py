"""Teach networks to match triples, by attention over pairs and by ordinary attention, and map the fast form's error."""

from winnow.pipeline import stage


@stage(torch=True)
def kronecker_attention(inputs, outputs, params, log):
    """Write accuracies on pairs and triples, errors of the fast form, what degrees they ask for, work and time."""
    import time

    import pyarrow as pa

    from winnow.evaluate import kronecker_study as study
    from winnow.evaluate.scaling import exponent
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet

    labels = {"workload": params.workload, "seed": params.seed, "split": "test"}
    tables, histories = [], []
    for arm in study.arms(params.width):
        for order in (2, 3) if arm.name in ("kronecker", "standard") else (3,):
            report = Progress(log, f"{arm.name}, match{order}")
            values, history = study.matched(arm, order, params, report)
            log.info("%s, match%d: %s", arm.name, order, values)
            tables.append(metric_rows(values, system=arm.name, variant=f"match{order}", **labels))
            histories.append(metric_rows(history, system=arm.name, variant=f"match{order}", **labels))
    tables.append(metric_rows(study.ceiling(params), system="construction", variant="match3", **labels))
    rows = []
    for order, tokens in dict.fromkeys(((3, params.tokens), *((o, params.tokens_of_order_4) for o in (4, 3)))):
        mapped = (params.bounds, params.largest_rank, tokens, params.dimensions, order, params.seed)
        rows += list(study.error_map(*mapped))
    for row in rows:
        variant = f"{row['tokens']} tokens, B {row['bound']:g}, degree {row['degree']}"
        values = {"largest_error": row["error"], "relative_error": row["relative_error"], "negative": row["negative"]}
        tables.append(metric_rows(values, system=f"{row['basis']}_order_{row['order']}", variant=variant, **labels))
    for basis, order, tokens in dict.fromkeys((row["basis"], row["order"], row["tokens"]) for row in rows):
        mine = [row for row in rows if (row["basis"], row["order"], row["tokens"]) == (basis, order, tokens)]
        crossed = study.threshold(mine, study.FAST_DEGREE, 1e-2)
        values = {"degree_growth": study.growth(mine, 1e-3), "threshold": crossed}
        tables.append(metric_rows(values, system=f"{basis}_order_{order}", variant=f"{tokens} tokens", **labels))
    timings, scaled = [], list(study.work_and_time(params, time.process_time))
    for row in scaled:
        named = {"system": f"{row['method']}_attention", "variant": f"{row['tokens']} tokens"}
        values = {"work": row["work"], "largest": row["largest"], "largest_error": row["error"]}
        tables.append(metric_rows(values, **named, **labels))
        timings.append(metric_rows({"seconds": row["seconds"]}, **named, **labels))
    for method in ("exact", "fast"):
        mine = [row for row in scaled if row["method"] == method]
        for of, into in (("work", tables), ("seconds", timings)):
            power = {f"{of}_exponent": exponent([row["tokens"] for row in mine], [row[of] for row in mine])}
            into.append(metric_rows(power, system=f"{method}_attention", variant="growth", **labels))
    write_parquet(pa.concat_tables(timings), outputs.timings)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.concat_tables(histories), outputs.history)
    write_parquet(pa.Table.from_pylist(rows), outputs.errors)
