rule paging_audit:
    output:
        audit="results/{workload}/evaluate/paging/audit.parquet",
    log:
        "logs/{workload}/evaluate/paging_audit.log",
    wildcard_constraints:
        workload=flow.workloads_of("text"),
    params:
        settings=flow.settings("evaluate", "paging"),
        code=flow.closure("stages/evaluate/paging_audit.py"),
    script:
        "paging_audit.py"


rule paging:
    input:
        documents=[
            "results/{workload}/curate/all/seed0/train.parquet",
            "results/{workload}/curate/all/seed0/valid.parquet",
            "results/{workload}/curate/all/seed0/test.parquet",
            "results/{workload}/curate/all/seed0/held_out.parquet",
        ],
        traces=flow.named_files("paging", "traces"),
        audit="results/{workload}/evaluate/paging/audit.parquet",
    output:
        metrics="results/{workload}/evaluate/paging/seed{seed}/metrics.parquet",
        noise="results/{workload}/evaluate/paging/seed{seed}/noise.parquet",
        traces="results/{workload}/evaluate/paging/seed{seed}/traces.parquet",
        timeline="results/{workload}/evaluate/paging/seed{seed}/timeline.parquet",
    log:
        "logs/{workload}/evaluate/paging/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("text"),
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
    wildcard_constraints:
        workload=flow.workloads_of("text"),
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_paging.py"),
    script:
        "plot_paging.py"


rule paging_of_items:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/paging/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/evaluate/paging/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("interactions"),
    params:
        settings=flow.settings("evaluate", "paging"),
        code=flow.closure("stages/evaluate/paging_of_items.py"),
    script:
        "paging_of_items.py"


rule plot_paging_of_items:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "paging"),
    output:
        gap=report(
            "results/{workload}/evaluate/paging/gap.svg",
            caption="../../docs/report/paging_of_items.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "paging: what a bit saves"},
        ),
    log:
        "logs/{workload}/evaluate/plot_paging.log",
    wildcard_constraints:
        workload=flow.workloads_of("interactions"),
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_paging_of_items.py"),
    script:
        "plot_paging_of_items.py"
