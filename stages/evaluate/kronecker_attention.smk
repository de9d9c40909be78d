rule kronecker_attention:
    output:
        metrics="results/{workload}/evaluate/kronecker_attention/seed{seed}/metrics.parquet",
        history="results/{workload}/evaluate/kronecker_attention/seed{seed}/history.parquet",
        errors="results/{workload}/evaluate/kronecker_attention/seed{seed}/errors.parquet",
        timings="results/{workload}/evaluate/kronecker_attention/seed{seed}/timings.parquet",
    log:
        "logs/{workload}/evaluate/kronecker_attention/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "kronecker_attention"),
        code=flow.closure("stages/evaluate/kronecker_attention.py"),
    script:
        "kronecker_attention.py"


rule plot_kronecker_attention:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "kronecker_attention"),
        history=flow.tables("evaluate", "history.parquet", "kronecker_attention"),
        errors=flow.tables("evaluate", "errors.parquet", "kronecker_attention"),
        timings=flow.tables("evaluate", "timings.parquet", "kronecker_attention"),
    output:
        learning=report(
            "results/{workload}/evaluate/kronecker_attention/learning.svg",
            caption="../../docs/report/kronecker_attention.rst",
            category="Models",
            labels={
                "workload": "{workload}",
                "figure": "attention over pairs: triples",
            },
        ),
        errors=report(
            "results/{workload}/evaluate/kronecker_attention/errors.svg",
            caption="../../docs/report/kronecker_attention.rst",
            category="Models",
            labels={
                "workload": "{workload}",
                "figure": "attention over pairs: errors of the fast form",
            },
        ),
        work=report(
            "results/{workload}/evaluate/kronecker_attention/work.svg",
            caption="../../docs/report/kronecker_attention.rst",
            category="Models",
            labels={
                "workload": "{workload}",
                "figure": "attention over pairs: work by length",
            },
        ),
        speed=report(
            "results/{workload}/evaluate/kronecker_attention/speed.svg",
            caption="../../docs/report/kronecker_attention.rst",
            category="Models",
            labels={
                "workload": "{workload}",
                "figure": "attention over pairs: time by length",
            },
        ),
    log:
        "logs/{workload}/evaluate/plot_kronecker_attention.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_kronecker_attention.py"),
    script:
        "plot_kronecker_attention.py"
