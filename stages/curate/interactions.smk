# Both make a raw table; this one beside it what is known of the items.
ruleorder: acquire_interactions > acquire


rule acquire_interactions:
    output:
        raw="data/raw/{workload}.parquet",
        catalogue="data/raw/{workload}-items.parquet",
    log:
        "logs/{workload}/curate/acquire.log",
    wildcard_constraints:
        workload=flow.workloads_of("interactions"),
    params:
        settings=flow.source,
        code=flow.closure("stages/curate/acquire_interactions.py"),
    script:
        "acquire_interactions.py"


rule curate_interactions:
    input:
        raw="data/raw/{workload}.parquet",
        catalogue="data/raw/{workload}-items.parquet",
    output:
        train="results/{workload}/curate/all/seed{seed}/train.parquet",
        valid="results/{workload}/curate/all/seed{seed}/valid.parquet",
        test="results/{workload}/curate/all/seed{seed}/test.parquet",
        users="results/{workload}/curate/all/seed{seed}/users.parquet",
        catalogue="results/{workload}/curate/all/seed{seed}/items.parquet",
        dropped="results/{workload}/curate/all/seed{seed}/dropped.parquet",
        sources="results/{workload}/curate/all/seed{seed}/sources.parquet",
        report="results/{workload}/curate/all/seed{seed}/report.json",
        metrics="results/{workload}/curate/all/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/curate/all/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("interactions"),
    params:
        settings=flow.settings("curate", "all"),
        code=flow.closure("stages/curate/interactions.py"),
    script:
        "interactions.py"
