rule fit_sparse_autoencoder:
    input:
        model=flow.model("dictionaries"),
        card=flow.card("dictionaries"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
    output:
        dictionary="results/{workload}/dictionaries/{variant}/seed{seed}/dictionary.safetensors",
        card="results/{workload}/dictionaries/{variant}/seed{seed}/dictionary.json",
        history="results/{workload}/dictionaries/{variant}/seed{seed}/history.parquet",
        metrics="results/{workload}/dictionaries/{variant}/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/dictionaries/{variant}/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("images", "table"),
    params:
        settings=flow.settings("dictionaries"),
        code=flow.closure("stages/dictionaries/sae.py"),
    script:
        "sae.py"
