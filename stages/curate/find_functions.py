"""Draw a library of opaque functions with known descriptions."""

from winnow.pipeline import stage


@stage
def find_functions(inputs, outputs, params, log):
    """Write the library of a seed."""
    from winnow.pipeline.tables import write_parquet
    from winnow.workloads.find_functions import (
        Shares,
        entity_functions,
        library,
        numeric_functions,
        relation_functions,
        string_functions,
    )

    shares = Shares(params.noise, params.corruption, params.approximation, params.composed)
    records = numeric_functions(params.numeric, params.seed, shares)
    records += string_functions(params.strings, params.seed) + entity_functions(params.entities, params.seed)
    records += relation_functions(params.relations, params.seed)
    log.info("%d functions", len(records))
    write_parquet(library(records), outputs.functions)
