rule bee:
    input:
        model=flow.model("evaluate", "bee"),
        card=flow.card("evaluate", "bee"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/bee/seed{seed}/metrics.parquet",
        scores="results/{workload}/evaluate/bee/seed{seed}/scores.parquet",
        arms="results/{workload}/evaluate/bee/seed{seed}/arms.parquet",
        policies="results/{workload}/evaluate/bee/seed{seed}/policies.safetensors",
    log:
        "logs/{workload}/evaluate/bee/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "bee"),
        code=flow.closure("stages/evaluate/bee.py"),
    script:
        "bee.py"


rule plot_bee:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "bee"),
        arms=flow.tables("evaluate", "arms.parquet", "bee"),
    output:
        draws=report(
            "results/{workload}/evaluate/bee/draws.svg",
            caption="../../docs/report/bee.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "score over the number of draws"},
        ),
        arms=report(
            "results/{workload}/evaluate/bee/arms.svg",
            caption="../../docs/report/bee.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "families that the bandits draw"},
        ),
        crossed=report(
            "results/{workload}/evaluate/bee/crossed.svg",
            caption="../../docs/report/bee.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "chosen by one metric, scored by another"},
        ),
    log:
        "logs/{workload}/evaluate/plot_bee.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_bee.py"),
    script:
        "plot_bee.py"
