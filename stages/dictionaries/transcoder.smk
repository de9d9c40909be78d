rule fit_transcoders:
    input:
        model=flow.model("evaluate", "transcoder"),
        card=flow.card("evaluate", "transcoder"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
        activations=flow.activations_of_layer("transcoder", "train"),
    output:
        dictionary="results/{workload}/dictionaries/transcoder/layer{layer}/seed{seed}/dictionary.safetensors",
        card="results/{workload}/dictionaries/transcoder/layer{layer}/seed{seed}/dictionary.json",
        features="results/{workload}/dictionaries/transcoder/layer{layer}/seed{seed}/features.parquet",
        history="results/{workload}/dictionaries/transcoder/layer{layer}/seed{seed}/history.parquet",
        metrics="results/{workload}/dictionaries/transcoder/layer{layer}/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/dictionaries/transcoder/layer{layer}/seed{seed}.log",
    wildcard_constraints:
        layer="[0-9]+",
    params:
        settings=flow.settings("evaluate", "transcoder"),
        code=flow.closure("stages/dictionaries/transcoder.py"),
    script:
        "transcoder.py"
