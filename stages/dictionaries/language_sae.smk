rule fit_language_autoencoder:
    input:
        model=flow.model("dictionaries"),
        card=flow.card("dictionaries"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        activations=flow.activations("dictionaries", "train"),
        held_out=flow.activations("dictionaries", "valid"),
    output:
        dictionary="results/{workload}/dictionaries/{variant}/seed{seed}/dictionary.safetensors",
        card="results/{workload}/dictionaries/{variant}/seed{seed}/dictionary.json",
        features="results/{workload}/dictionaries/{variant}/seed{seed}/features.parquet",
        history="results/{workload}/dictionaries/{variant}/seed{seed}/history.parquet",
        metrics="results/{workload}/dictionaries/{variant}/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/dictionaries/{variant}/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("text", "sequences"),
    params:
        settings=flow.settings("dictionaries"),
        code=flow.closure("stages/dictionaries/language_sae.py"),
    script:
        "language_sae.py"
