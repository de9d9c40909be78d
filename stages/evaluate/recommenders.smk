rule recommenders:
    input:
        models=flow.models("evaluate", "recommenders", "model.safetensors"),
        cards=flow.models("evaluate", "recommenders", "model.json"),
        histories=flow.models("evaluate", "recommenders", "history.parquet"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/recommenders/seed{seed}/metrics.parquet",
        ranks="results/{workload}/evaluate/recommenders/seed{seed}/ranks.parquet",
        nearest="results/{workload}/evaluate/recommenders/seed{seed}/nearest.parquet",
        histories="results/{workload}/evaluate/recommenders/seed{seed}/histories.parquet",
    log:
        "logs/{workload}/evaluate/recommenders/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "recommenders"),
        code=flow.closure("stages/evaluate/recommenders.py"),
    script:
        "recommenders.py"


rule plot_recommenders:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "recommenders"),
        nearest=flow.tables("evaluate", "nearest.parquet", "recommenders"),
        histories=flow.tables("evaluate", "histories.parquet", "recommenders"),
    output:
        arms=report(
            "results/{workload}/evaluate/recommenders/arms.svg",
            caption="../../docs/report/recommenders.rst",
            category="Recommenders",
            labels={"workload": "{workload}", "figure": "who ranks best"},
        ),
        curves=report(
            "results/{workload}/evaluate/recommenders/curves.svg",
            caption="../../docs/report/recommenders.rst",
            category="Recommenders",
            labels={"workload": "{workload}", "figure": "how they learned"},
        ),
        strata=report(
            "results/{workload}/evaluate/recommenders/strata.svg",
            caption="../../docs/report/recommenders.rst",
            category="Recommenders",
            labels={"workload": "{workload}", "figure": "for whom, and for what"},
        ),
        nearest=report(
            "results/{workload}/evaluate/recommenders/nearest.svg",
            caption="../../docs/report/recommenders.rst",
            category="Recommenders",
            labels={"workload": "{workload}", "figure": "items near each other"},
        ),
    log:
        "logs/{workload}/evaluate/plot_recommenders.log",
    params:
        settings=flow.settings("evaluate", "recommenders"),
        code=flow.closure("stages/evaluate/plot_recommenders.py"),
    script:
        "plot_recommenders.py"
