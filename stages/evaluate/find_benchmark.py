"""Let interpreters describe the functions of a library, and score what they say as code and as words."""

from winnow.pipeline import stage

WORST = 10  # functions whose descriptions are drawn


@stage
def find_benchmark(inputs, outputs, params, log):
    """Write what was said of each function, its scores, the curves of the worst, metrics and the leaderboard."""
    import pyarrow as pa

    from winnow.evaluate import find_study
    from winnow.evaluate.find_benchmark import scored
    from winnow.evaluate.find_language_model import Judge
    from winnow.models.endpoint import EndpointLanguageModel
    from winnow.pipeline.acquire import default_cache
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_json, write_parquet

    records = read_parquet(inputs.functions).to_pylist()

    def opened(told):
        answers = default_cache() / "endpoints.jsonl"
        return told and EndpointLanguageModel(told.url, told.model, told.key, answers, told.context)

    arms = find_study.arms(params.budgets, params.main_budget, opened(params.endpoint))
    judge = params.judge and Judge(opened(params.judge))
    progress = Progress(log, "find_benchmark", "interpretations")
    rows = scored(records, arms, params.main_budget, params.seed, progress, judge)
    checked = find_study.confirmed(records, params.seed)
    metrics = {"library": {"labels_confirmed": sum(checked) / len(checked)}} | find_study.summaries(rows)
    labels = {"system": "find_benchmark", "workload": params.workload, "seed": params.seed, "split": "test"}
    tables = [metric_rows(values, variant=variant, **labels) for variant, values in metrics.items()]
    said = ["function_id", "kind", "interpreter", "budget", "calls", "description", "code", "confidence"]
    write_parquet(pa.Table.from_pylist([{name: row[name] for name in said} for row in rows]), outputs.interpretations)
    write_parquet(pa.Table.from_pylist([{k: v for k, v in r.items() if k != "code"} for r in rows]), outputs.scores)
    write_parquet(pa.Table.from_pylist(find_study.error_curves(records, rows, WORST)), outputs.curves)
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    order = sorted(metrics, key=lambda variant: (-metrics[variant].get("success", -1), variant))
    board = [{"variant": variant, **metrics[variant]} for variant in order if variant != "library"]
    write_json(board, outputs.leaderboard)
