rule planted_reasons:
    input:
        model=flow.model("evaluate", "planted_reasons"),
        card=flow.card("evaluate", "planted_reasons"),
        train="results/{workload}/curate/all/seed0/train.parquet",
    output:
        metrics="results/{workload}/evaluate/planted_reasons/seed{seed}/metrics.parquet",
        importances="results/{workload}/evaluate/planted_reasons/seed{seed}/importances.parquet",
    log:
        "logs/{workload}/evaluate/planted_reasons/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "planted_reasons"),
        code=flow.closure("stages/evaluate/planted_reasons.py"),
    script:
        "planted_reasons.py"


rule plot_planted_reasons:
    input:
        importances=flow.tables("evaluate", "importances.parquet", "planted_reasons"),
    output:
        planted=report(
            "results/{workload}/evaluate/planted_reasons/planted.svg",
            caption="../../docs/report/planted_reasons.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "reasons of prototypes where the right one is known"},
        ),
    log:
        "logs/{workload}/evaluate/plot_planted_reasons.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_planted_reasons.py"),
    script:
        "plot_planted_reasons.py"
