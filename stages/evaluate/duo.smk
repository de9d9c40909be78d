rule duo:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/duo/seed{seed}/metrics.parquet",
        use="results/{workload}/evaluate/duo/seed{seed}/use.parquet",
        growth="results/{workload}/evaluate/duo/seed{seed}/growth.parquet",
    log:
        "logs/{workload}/evaluate/duo/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "duo"),
        code=flow.closure("stages/evaluate/duo.py"),
    script:
        "duo.py"


rule plot_duo:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "duo"),
        use=flow.tables("evaluate", "use.parquet", "duo"),
        growth=flow.tables("evaluate", "growth.parquet", "duo"),
    output:
        budgets=report(
            "results/{workload}/evaluate/duo/budgets.svg",
            caption="../../docs/report/duo.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "routes: loss by budget"},
        ),
        use=report(
            "results/{workload}/evaluate/duo/use.svg",
            caption="../../docs/report/duo.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "routes: layers that oracles use"},
        ),
        hindsight=report(
            "results/{workload}/evaluate/duo/hindsight.svg",
            caption="../../docs/report/duo.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "routes: hindsight of oracles"},
        ),
    log:
        "logs/{workload}/evaluate/plot_duo.log",
    params:
        settings=flow.settings("evaluate", "duo"),
        code=flow.closure("stages/evaluate/plot_duo.py"),
    script:
        "plot_duo.py"
