"""Find the Local Interaction Basis of a model's layers, and other bases, with the strengths of edges between layers."""

from winnow.pipeline import stage


@stage(torch=True)
def local_interaction_basis(inputs, outputs, params, log):
    """Write bases of each kind, and edges by each formula."""
    import pyarrow as pa

    from winnow.dictionaries.basis_files import save_bases
    from winnow.dictionaries.local_interaction_basis import local_interaction_basis as bases_of
    from winnow.evaluate.ablation_study import strengths_by
    from winnow.evaluate.interaction_study import edge_rows
    from winnow.evaluate.network_sections import sections_of
    from winnow.models import load_model
    from winnow.pipeline.tables import write_parquet
    from winnow.workloads import load_workload

    train = getattr(inputs, "train", None)  # sums need no data
    sections = sections_of(load_model(inputs.model), train and load_workload(train.parent), params)
    bases, edges = {}, []
    for kind in params.kinds:
        bases[kind] = bases_of(
            sections.parts,
            sections.x,
            sections.output,
            kind,
            sources=params.sources,
            seed=params.seed,
            names=sections.names,
        )
        log.info("%s: ranks %s", kind, [len(basis.eigenvalues) for basis in bases[kind]])
        for formula in params.edges:
            strengths = strengths_by(formula, sections, bases[kind], params.edge_sources, params.seed)
            rows = edge_rows(kind, list(strengths.values()), first=sections.edges.start)
            edges += [row | {"formula": formula} for row in rows]
    save_bases(bases, outputs.bases)
    write_parquet(pa.Table.from_pylist(edges), outputs.edges)
