rule curate_sequences:
    output:
        train="results/{workload}/curate/all/seed{seed}/train.parquet",
        valid="results/{workload}/curate/all/seed{seed}/valid.parquet",
        test="results/{workload}/curate/all/seed{seed}/test.parquet",
        report="results/{workload}/curate/all/seed{seed}/report.json",
        metrics="results/{workload}/curate/all/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/curate/all/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("sequences"),
    params:
        settings=flow.settings("curate", "all"),
        code=flow.closure("stages/curate/sequences.py"),
    script:
        "sequences.py"
