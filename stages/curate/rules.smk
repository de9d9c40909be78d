rule acquire:
    output:
        raw="data/raw/{workload}.parquet",
    log:
        "logs/{workload}/curate/acquire.log",
    params:
        settings=flow.source,
        code=flow.closure("stages/curate/acquire.py"),
    script:
        "acquire.py"


rule curate_images:
    input:
        raw="data/raw/{workload}.parquet",
    output:
        train="results/{workload}/curate/all/seed{seed}/train.parquet",
        valid="results/{workload}/curate/all/seed{seed}/valid.parquet",
        test="results/{workload}/curate/all/seed{seed}/test.parquet",
        dropped="results/{workload}/curate/all/seed{seed}/dropped.parquet",
        classes="results/{workload}/curate/all/seed{seed}/classes.parquet",
        sources="results/{workload}/curate/all/seed{seed}/sources.parquet",
        report="results/{workload}/curate/all/seed{seed}/report.json",
        metrics="results/{workload}/curate/all/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/curate/all/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("images"),
    params:
        settings=flow.settings("curate", "all"),
        code=flow.closure("stages/curate/images.py"),
    script:
        "images.py"
