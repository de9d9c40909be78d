rule fit_sparse_autoencoder:
    input:
        model=flow.model("dictionaries"),
        card=flow.card("dictionaries"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
    output:
        dictionary="results/{workload}/dictionaries/{variant}/seed{seed}/dictionary.safetensors",
        card="results/{workload}/dictionaries/{variant}/seed{seed}/dictionary.json",
        features="results/{workload}/dictionaries/{variant}/seed{seed}/features.parquet",
        history="results/{workload}/dictionaries/{variant}/seed{seed}/history.parquet",
        metrics="results/{workload}/dictionaries/{variant}/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/dictionaries/{variant}/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("images", "table"),
        variant="(?!interaction_basis/)[^/]+",  # has a history, and a rule of its own
    params:
        settings=flow.settings("dictionaries"),
        code=flow.closure("stages/dictionaries/sae.py"),
    script:
        "sae.py"


rule plot_dictionary:
    input:
        features=flow.tables("dictionaries", "features.parquet"),
    output:
        density=report(
            "results/{workload}/dictionaries/{variant}/density.svg",
            caption="../../docs/report/dictionary.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "{variant}: how often features fire"},
        ),
    log:
        "logs/{workload}/dictionaries/{variant}/plot_dictionary.log",
    params:
        settings={},
        code=flow.closure("stages/dictionaries/plot_dictionary.py"),
    script:
        "plot_dictionary.py"
