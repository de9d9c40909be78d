"""Write a page on which a person leafs through the features of a dictionary."""

from winnow.pipeline import stage


@stage(torch=True)
def feature_browser(inputs, outputs, params, log):
    """Write the page, the table of features that it shows, and how many of them fire."""
    from winnow.dictionaries.dictionary import load
    from winnow.evaluate.feature_browser import examples_of, feature_table, fired
    from winnow.evaluate.feature_page import feature_page
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    model, dictionary = load_model(inputs.model), load(inputs.dictionary)
    hook = dictionary.info["hook"]
    examples = examples_of(workload, params.split, params.limit)
    where = fired(dictionary, model, examples, hook)
    table = feature_table(dictionary, model, examples, hook, where, params.top)
    title = f"{params.workload}: features of {params.dictionary} on {params.model}, {hook}, seed {params.seed}"
    outputs.page.write_text(feature_page(table, where, examples, title), encoding="utf-8")
    write_parquet(table, outputs.features)
    live = sum(density > 0 for density in table["density"].to_pylist())
    log.info("%d of %d features fire on %d examples", live, dictionary.m, len(examples.inputs))
    labels = {"system": "feature_browser", "workload": params.workload, "variant": params.dictionary}
    values = {"live_share": live / dictionary.m, "examples": len(examples.inputs)}
    units = {"live_share": "share", "examples": "examples"}
    write_parquet(metric_rows(values, seed=params.seed, split=params.split, units=units, **labels), outputs.metrics)
