rule acquire_weights:
    output:
        weights="data/weights/{source}.safetensors",
    log:
        "logs/weights/{source}.log",
    params:
        settings=flow.weights,
        code=flow.closure("stages/curate/acquire_weights.py"),
    script:
        "acquire_weights.py"
