rule interaction_modules:
    input:
        networks="results/{workload}/dictionaries/interaction_basis/seed{seed}/networks.safetensors",
        bases="results/{workload}/dictionaries/interaction_basis/seed{seed}/bases.safetensors",
        edges="results/{workload}/dictionaries/interaction_basis/seed{seed}/edges.parquet",
        history="results/{workload}/dictionaries/interaction_basis/seed{seed}/history.parquet",
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/interaction_basis/seed{seed}/metrics.parquet",
        nodes="results/{workload}/evaluate/interaction_basis/seed{seed}/nodes.parquet",
        edges="results/{workload}/evaluate/interaction_basis/seed{seed}/edges.parquet",
        degeneracy="results/{workload}/evaluate/interaction_basis/seed{seed}/degeneracy.parquet",
        spectra="results/{workload}/evaluate/interaction_basis/seed{seed}/spectra.parquet",
    log:
        "logs/{workload}/evaluate/interaction_basis/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "interaction_basis"),
        code=flow.closure("stages/evaluate/interaction_modules.py"),
    script:
        "interaction_modules.py"


rule plot_interaction_modules:
    input:
        nodes=flow.tables("evaluate", "nodes.parquet", "interaction_basis"),
        spectra=flow.tables("evaluate", "spectra.parquet", "interaction_basis"),
        edges=flow.tables("evaluate", "edges.parquet", "interaction_basis"),
    output:
        graph=report(
            "results/{workload}/evaluate/interaction_basis/graph.svg",
            caption="../../docs/report/interaction_basis.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "interaction basis: modules"},
        ),
        spectrum=report(
            "results/{workload}/evaluate/interaction_basis/spectrum.svg",
            caption="../../docs/report/interaction_basis.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "interaction basis: spectra"},
        ),
        purity=report(
            "results/{workload}/evaluate/interaction_basis/purity.svg",
            caption="../../docs/report/interaction_basis.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "interaction basis: purity"},
        ),
    log:
        "logs/{workload}/evaluate/plot_interaction_basis.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_interaction_modules.py"),
    script:
        "plot_interaction_modules.py"
