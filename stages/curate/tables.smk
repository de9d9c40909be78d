rule curate_table:
    input:
        raw="data/raw/{workload}.parquet",
    output:
        train="results/{workload}/curate/all/seed{seed}/train.parquet",
        valid="results/{workload}/curate/all/seed{seed}/valid.parquet",
        test="results/{workload}/curate/all/seed{seed}/test.parquet",
        columns="results/{workload}/curate/all/seed{seed}/columns.parquet",
        classes="results/{workload}/curate/all/seed{seed}/classes.parquet",
        dropped="results/{workload}/curate/all/seed{seed}/dropped.parquet",
        sources="results/{workload}/curate/all/seed{seed}/sources.parquet",
        report="results/{workload}/curate/all/seed{seed}/report.json",
        metrics="results/{workload}/curate/all/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/curate/all/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("table"),
    params:
        settings=flow.settings("curate", "all"),
        code=flow.closure("stages/curate/tables.py"),
    script:
        "tables.py"
