rule compatibility:
    input:
        model=flow.model("evaluate", "compatibility"),
        card=flow.card("evaluate", "compatibility"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/compatibility/seed{seed}/metrics.parquet",
        matrix="results/{workload}/evaluate/compatibility/seed{seed}/matrix.parquet",
        plane="results/{workload}/evaluate/compatibility/seed{seed}/plane.parquet",
    log:
        "logs/{workload}/evaluate/compatibility/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "compatibility"),
        code=flow.closure("stages/evaluate/compatibility.py"),
    script:
        "compatibility.py"


rule plot_compatibility:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "compatibility"),
        matrix=flow.tables("evaluate", "matrix.parquet", "compatibility"),
        plane=flow.tables("evaluate", "plane.parquet", "compatibility"),
    output:
        compatibility=report(
            "results/{workload}/evaluate/compatibility/compatibility.svg",
            caption="../../docs/report/compatibility.rst",
            category="Representations",
            labels={"workload": "{workload}", "figure": "average compatibility and accuracy"},
        ),
        matrices=report(
            "results/{workload}/evaluate/compatibility/matrices.svg",
            caption="../../docs/report/compatibility.rst",
            category="Representations",
            labels={"workload": "{workload}", "figure": "compatibility matrices"},
        ),
        stationary=report(
            "results/{workload}/evaluate/compatibility/stationary.svg",
            caption="../../docs/report/compatibility.rst",
            category="Representations",
            labels={"workload": "{workload}", "figure": "features of two models in the plane"},
        ),
    log:
        "logs/{workload}/evaluate/plot_compatibility.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_compatibility.py"),
    script:
        "plot_compatibility.py"
