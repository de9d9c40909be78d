"""Judge dictionaries of a task's heads by what the task is about: reconstruction, edits, and what features say."""

from winnow.pipeline import stage


def of_code(model, inputs, params, log):
    """The model of code made ready for the task of parameters, whose names are arguments in the train split."""
    from winnow.curate.byte_pairs import load_tokenizer
    from winnow.evaluate.parameter_task import Parameters, argument_names
    from winnow.evaluate.taught_model import made_ready
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import read_parquet

    tokenizer, texts = load_tokenizer(inputs.tokenizer), read_parquet(inputs.train, ["text"])["text"].to_pylist()
    names = argument_names(texts, tokenizer, params.names)
    ask = Parameters(names, tokenizer, params.held_pairs).task
    ready = made_ready(model, ask, params, params.seed, Progress(log, "lessons"))
    log.info("%d names; a copy was taught: %s", len(names), ready.model is not model)
    return ready


@stage(torch=True)
def supervised_dictionaries(inputs, outputs, params, log):
    """Write the metrics of every dictionary and of the toys, and what features of one node tell."""
    import pyarrow as pa

    from winnow.evaluate.dictionary_toys import toys
    from winnow.evaluate.judged_dictionaries import judge
    from winnow.evaluate.supervised_task import giving_task
    from winnow.evaluate.taught_model import ability
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    model, seed, workload = load_model(inputs.model), params.seed, load_workload(inputs.train.parent)
    report = Progress(log, "dictionaries")
    if hasattr(inputs, "tokenizer"):
        ready, documents = of_code(model, inputs, params, log), workload.example_inputs(params.windows)
        judged = judge(ready.model, ready.fit, ready.test, documents, params, seed, report)
        found = {"model": ready.abilities} | judged.metrics
    else:
        fit, test = giving_task("train", params.fit_prompts, seed), giving_task("test", params.prompts, seed)
        judged = judge(model, fit, test, workload.tokens("train")[: params.fit_prompts], params, seed, report)
        found = {"model": {"as_trained": ability(model, test)}} | judged.metrics
    if hasattr(params, "ratios"):
        found |= toys(params, seed)
    units = {"l0": "features", "specific": "features", "clear_features": "features"}
    labels = {"workload": params.workload, "seed": seed, "split": "test", "units": units}
    tables = [
        metric_rows(values, system=name, variant=variant, **labels)
        for name, variants in found.items()
        for variant, values in variants.items()
    ]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(judged.features), outputs.features)
