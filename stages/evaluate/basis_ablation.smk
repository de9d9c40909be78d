rule basis_ablation:
    input:
        model=flow.model("evaluate", "local_interaction_basis"),
        card=flow.card("evaluate", "local_interaction_basis"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
        bases="results/{workload}/dictionaries/local_interaction_basis/seed{seed}/bases.safetensors",
        edges="results/{workload}/dictionaries/local_interaction_basis/seed{seed}/edges.parquet",
    output:
        metrics="results/{workload}/evaluate/local_interaction_basis/seed{seed}/metrics.parquet",
        curves="results/{workload}/evaluate/local_interaction_basis/seed{seed}/curves.parquet",
        directions="results/{workload}/evaluate/local_interaction_basis/seed{seed}/directions.parquet",
        graph="results/{workload}/evaluate/local_interaction_basis/seed{seed}/graph.parquet",
    log:
        "logs/{workload}/evaluate/local_interaction_basis/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("images", "text"),
    params:
        settings=flow.settings("evaluate", "local_interaction_basis"),
        code=flow.closure("stages/evaluate/basis_ablation.py"),
    script:
        "basis_ablation.py"


rule basis_ablation_of_sums:
    input:
        model=flow.model("evaluate", "local_interaction_basis"),
        card=flow.card("evaluate", "local_interaction_basis"),
        bases="results/{workload}/dictionaries/local_interaction_basis/seed{seed}/bases.safetensors",
        edges="results/{workload}/dictionaries/local_interaction_basis/seed{seed}/edges.parquet",
    output:
        metrics="results/{workload}/evaluate/local_interaction_basis/seed{seed}/metrics.parquet",
        curves="results/{workload}/evaluate/local_interaction_basis/seed{seed}/curves.parquet",
        directions="results/{workload}/evaluate/local_interaction_basis/seed{seed}/directions.parquet",
        graph="results/{workload}/evaluate/local_interaction_basis/seed{seed}/graph.parquet",
    log:
        "logs/{workload}/evaluate/local_interaction_basis/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("sequences"),
    params:
        settings=flow.settings("evaluate", "local_interaction_basis"),
        code=flow.closure("stages/evaluate/basis_ablation.py"),
    script:
        "basis_ablation.py"


rule plot_basis_ablation:
    input:
        curves=flow.tables("evaluate", "curves.parquet", "local_interaction_basis"),
        directions=flow.tables("evaluate", "directions.parquet", "local_interaction_basis"),
        graph=flow.tables("evaluate", "graph.parquet", "local_interaction_basis"),
    output:
        graph=report(
            "results/{workload}/evaluate/local_interaction_basis/graph.svg",
            caption="../../docs/report/local_interaction_basis.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "local interaction basis: edges"},
        ),
        curves=report(
            "results/{workload}/evaluate/local_interaction_basis/curves.svg",
            caption="../../docs/report/local_interaction_basis.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "local interaction basis: what is needed"},
        ),
        eigenvalues=report(
            "results/{workload}/evaluate/local_interaction_basis/eigenvalues.svg",
            caption="../../docs/report/local_interaction_basis.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "local interaction basis: eigenvalues"},
        ),
    log:
        "logs/{workload}/evaluate/plot_local_interaction_basis.log",
    params:
        settings=flow.settings("evaluate", "local_interaction_basis"),
        code=flow.closure("stages/evaluate/plot_basis_ablation.py"),
    script:
        "plot_basis_ablation.py"
