rule acquire_gguf:
    output:
        model="data/weights/{source}.gguf",
    log:
        "logs/weights/{source}.gguf.log",
    params:
        settings=flow.weights,
        code=flow.closure("stages/curate/acquire_gguf.py"),
    script:
        "acquire_gguf.py"
