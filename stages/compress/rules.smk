rule prune:
    input:
        model=flow.model("compress"),
        card=flow.card("compress"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
    output:
        model="results/{workload}/compress/{variant}/seed{seed}/model.safetensors",
        card="results/{workload}/compress/{variant}/seed{seed}/model.json",
        history="results/{workload}/compress/{variant}/seed{seed}/history.parquet",
        metrics="results/{workload}/compress/{variant}/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/compress/{variant}/seed{seed}.log",
    params:
        settings=flow.settings("compress"),
        code=flow.closure("stages/compress/prune.py"),
    script:
        "prune.py"
