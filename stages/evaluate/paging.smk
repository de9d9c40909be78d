rule paging:
    input:
        documents=[
            "results/{workload}/curate/all/seed0/train.parquet",
            "results/{workload}/curate/all/seed0/valid.parquet",
            "results/{workload}/curate/all/seed0/test.parquet",
            "results/{workload}/curate/all/seed0/held_out.parquet",
        ],
        traces=flow.named_files("paging", "traces"),
    output:
        metrics="results/{workload}/evaluate/paging/seed{seed}/metrics.parquet",
        noise="results/{workload}/evaluate/paging/seed{seed}/noise.parquet",
        traces="results/{workload}/evaluate/paging/seed{seed}/traces.parquet",
        timeline="results/{workload}/evaluate/paging/seed{seed}/timeline.parquet",
    log:
        "logs/{workload}/evaluate/paging/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "paging"),
        code=flow.closure("stages/evaluate/paging.py"),
    script:
        "paging.py"


rule plot_paging:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "paging"),
        noise=flow.tables("evaluate", "noise.parquet", "paging"),
        timeline=flow.tables("evaluate", "timeline.parquet", "paging"),
    output:
        gap=report(
            "results/{workload}/evaluate/paging/gap.svg",
            caption="../../docs/report/paging.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "paging: what a bit saves"},
        ),
        noise=report(
            "results/{workload}/evaluate/paging/noise.svg",
            caption="../../docs/report/paging.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "paging: what wrong bits cost"},
        ),
        timeline=report(
            "results/{workload}/evaluate/paging/timeline.svg",
            caption="../../docs/report/paging.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "paging: who faults when"},
        ),
    log:
        "logs/{workload}/evaluate/plot_paging.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_paging.py"),
    script:
        "plot_paging.py"
