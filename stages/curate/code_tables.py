"""Make tables of the functions, syntax, relations, examples and instructions of curated files of Python."""

from winnow.pipeline import stage


@stage
def code_tables(inputs, outputs, params, log):
    """Write a table of each kind; a row belongs to the split of its file."""
    from winnow.curate import code_tables as tables
    from winnow.curate.code_triples import triples_table
    from winnow.pipeline.tables import read_parquet, write_parquet

    names = ("train", "valid", "test", "held_out")
    columns = ["file_id", "path", "language", "text"]
    sources = list(tables.sources_of({split: read_parquet(getattr(inputs, split), columns) for split in names}))
    made = {
        "functions": tables.functions_table(sources),
        "nodes": tables.nodes_table(sources),
        "triples": triples_table(sources),
        "doctests": tables.doctests_table(sources),
        "instructions": tables.instructions_table(sources),
    }
    for name, table in made.items():
        write_parquet(table, getattr(outputs, name))
    log.info("%d files: %s", len(sources), {name: table.num_rows for name, table in made.items()})
