"""Draw animals made of parts into one raw table, with all that is known about each picture."""

from winnow.pipeline import stage


@stage
def render_parts(inputs, outputs, params, log):
    """Write the raw table: one row for each scene, its annotations beside it."""
    from winnow.pipeline.tables import write_parquet
    from winnow.workloads.image_tables import metadata_of
    from winnow.workloads.parts import render_parts

    chosen = params.render
    table = render_parts(chosen.side, chosen.scenes, chosen.seed, chosen.planted, chosen.part)
    log.info("drew %d scenes of %d x %d pixels", table.num_rows, chosen.side, chosen.side)
    write_parquet(table, outputs.raw, metadata=metadata_of(table))
