rule curate_text:
    input:
        raw="data/raw/{workload}.parquet",
    output:
        train="results/{workload}/curate/all/seed{seed}/train.parquet",
        valid="results/{workload}/curate/all/seed{seed}/valid.parquet",
        test="results/{workload}/curate/all/seed{seed}/test.parquet",
        held_out="results/{workload}/curate/all/seed{seed}/held_out.parquet",
        tokenizer="results/{workload}/curate/all/seed{seed}/tokenizer.json",
        dropped="results/{workload}/curate/all/seed{seed}/dropped.parquet",
        sources="results/{workload}/curate/all/seed{seed}/sources.parquet",
        report="results/{workload}/curate/all/seed{seed}/report.json",
        metrics="results/{workload}/curate/all/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/curate/all/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("text"),
    params:
        settings=flow.settings("curate", "all"),
        code=flow.closure("stages/curate/texts.py"),
    script:
        "texts.py"
