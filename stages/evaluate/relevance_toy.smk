rule relevance_toy:
    output:
        metrics="results/{workload}/evaluate/relevance_toy/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/evaluate/relevance_toy/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "relevance_toy"),
        code=flow.closure("stages/evaluate/relevance_toy.py"),
    script:
        "relevance_toy.py"


rule plot_relevance_toy:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "relevance_toy"),
    output:
        toys=report(
            "results/{workload}/evaluate/relevance_toy/toys.svg",
            caption="../../docs/report/relevance_toy.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "pruning toy networks"},
        ),
    log:
        "logs/{workload}/evaluate/plot_relevance_toy.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_relevance_toy.py"),
    script:
        "plot_relevance_toy.py"
