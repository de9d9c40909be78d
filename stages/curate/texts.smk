rule curate_text_shard:
    input:
        raw="data/raw/{workload}.parquet",
    output:
        files="results/{workload}/curate/all/seed{seed}/shards/{shard}/files.parquet",
        bands="results/{workload}/curate/all/seed{seed}/shards/{shard}/hashed.bands",
        owners="results/{workload}/curate/all/seed{seed}/shards/{shard}/hashed.owners",
        shingles="results/{workload}/curate/all/seed{seed}/shards/{shard}/hashed.shingles",
        ends="results/{workload}/curate/all/seed{seed}/shards/{shard}/hashed.ends",
        index="results/{workload}/curate/all/seed{seed}/shards/{shard}/hashed.json",
    log:
        "logs/{workload}/curate/all/seed{seed}/shard{shard}.log",
    wildcard_constraints:
        workload=flow.workloads_of("text"),
        shard="[0-9]+",
    params:
        settings=flow.curation("shards", "licences", "clean", "signals", "downsample"),
        code=flow.closure("stages/curate/text_shards.py"),
    script:
        "text_shards.py"


rule curate_text_fates:
    input:
        files=flow.shards("files.parquet"),
        bands=flow.shards("hashed.bands"),
        owners=flow.shards("hashed.owners"),
        shingles=flow.shards("hashed.shingles"),
        ends=flow.shards("hashed.ends"),
        index=flow.shards("hashed.json"),
    output:
        fates="results/{workload}/curate/all/seed{seed}/fates.parquet",
    log:
        "logs/{workload}/curate/all/seed{seed}/fates.log",
    wildcard_constraints:
        workload=flow.workloads_of("text"),
    params:
        settings=flow.curation(
            "split_salt",
            "fractions",
            "held_out",
            "near_duplicate_similarity",
            "related_similarity",
            "signals",
            "thresholds",
            "downsample",
        ),
        code=flow.closure("stages/curate/text_fates.py"),
    script:
        "text_fates.py"


rule curate_text:
    input:
        raw="data/raw/{workload}.parquet",
        fates="results/{workload}/curate/all/seed{seed}/fates.parquet",
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
        settings=flow.curation("clean", "vocabulary", "context", "sources"),
        code=flow.closure("stages/curate/texts.py"),
    script:
        "texts.py"
