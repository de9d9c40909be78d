rule supervised_dictionaries:
    input:
        model=flow.model("evaluate", "supervised_dictionaries"),
        card=flow.card("evaluate", "supervised_dictionaries"),
        train="results/{workload}/curate/all/seed0/train.parquet",
    output:
        metrics="results/{workload}/evaluate/supervised_dictionaries/seed{seed}/metrics.parquet",
        features="results/{workload}/evaluate/supervised_dictionaries/seed{seed}/features.parquet",
    log:
        "logs/{workload}/evaluate/supervised_dictionaries/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("sequences"),
    params:
        settings=flow.settings("evaluate", "supervised_dictionaries"),
        code=flow.closure("stages/evaluate/supervised_dictionaries.py"),
    script:
        "supervised_dictionaries.py"


rule supervised_dictionaries_of_code:
    input:
        model=flow.model("evaluate", "supervised_dictionaries"),
        card=flow.card("evaluate", "supervised_dictionaries"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        tokenizer="results/{workload}/curate/all/seed0/tokenizer.json",
    output:
        metrics="results/{workload}/evaluate/supervised_dictionaries/seed{seed}/metrics.parquet",
        features="results/{workload}/evaluate/supervised_dictionaries/seed{seed}/features.parquet",
    log:
        "logs/{workload}/evaluate/supervised_dictionaries/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("text"),
    params:
        settings=flow.settings("evaluate", "supervised_dictionaries"),
        code=flow.closure("stages/evaluate/supervised_dictionaries.py"),
    script:
        "supervised_dictionaries.py"


rule plot_supervised_dictionaries:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "supervised_dictionaries"),
        features=flow.tables("evaluate", "features.parquet", "supervised_dictionaries"),
    output:
        axes=report(
            "results/{workload}/evaluate/supervised_dictionaries/axes.svg",
            caption="../../docs/report/supervised_dictionaries.rst",
            category="Supervised dictionaries",
            labels={"workload": "{workload}", "figure": "approximation, control and interpretability"},
        ),
        edits=report(
            "results/{workload}/evaluate/supervised_dictionaries/edits.svg",
            caption="../../docs/report/supervised_dictionaries.rst",
            category="Supervised dictionaries",
            labels={"workload": "{workload}", "figure": "edits by size"},
        ),
        levels=report(
            "results/{workload}/evaluate/supervised_dictionaries/levels.svg",
            caption="../../docs/report/supervised_dictionaries.rst",
            category="Supervised dictionaries",
            labels={"workload": "{workload}", "figure": "features by F1"},
        ),
        told=report(
            "results/{workload}/evaluate/supervised_dictionaries/told.svg",
            caption="../../docs/report/supervised_dictionaries.rst",
            category="Supervised dictionaries",
            labels={"workload": "{workload}", "figure": "what features tell"},
        ),
    log:
        "logs/{workload}/evaluate/plot_supervised_dictionaries.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_supervised_dictionaries.py"),
    script:
        "plot_supervised_dictionaries.py"


rule plot_dictionary_toys:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "supervised_dictionaries"),
    output:
        toys=report(
            "results/{workload}/evaluate/supervised_dictionaries/toys.svg",
            caption="../../docs/report/supervised_dictionaries.rst",
            category="Supervised dictionaries",
            labels={"workload": "{workload}", "figure": "occlusion and over-splitting"},
        ),
    log:
        "logs/{workload}/evaluate/plot_dictionary_toys.log",
    wildcard_constraints:
        workload=flow.workloads_of("sequences"),
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_dictionary_toys.py"),
    script:
        "plot_dictionary_toys.py"
