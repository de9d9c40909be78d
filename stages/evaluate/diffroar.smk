rule diffroar:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/diffroar/seed{seed}/metrics.parquet",
        diffroar="results/{workload}/evaluate/diffroar/seed{seed}/diffroar.parquet",
    log:
        "logs/{workload}/evaluate/diffroar/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "diffroar"),
        code=flow.closure("stages/evaluate/diffroar.py"),
    script:
        "diffroar.py"


rule plot_diffroar:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "diffroar"),
    output:
        diffroar=report(
            "results/{workload}/evaluate/diffroar/diffroar.svg",
            caption="../../docs/report/diffroar.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "DiffROAR over the share of pixels kept"},
        ),
        schemes=report(
            "results/{workload}/evaluate/diffroar/schemes.svg",
            caption="../../docs/report/diffroar.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "DiffROAR of attribution schemes"},
        ),
    log:
        "logs/{workload}/evaluate/plot_diffroar.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_diffroar.py"),
    script:
        "plot_diffroar.py"
