rule interaction_basis:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
    output:
        networks="results/{workload}/dictionaries/interaction_basis/seed{seed}/networks.safetensors",
        bases="results/{workload}/dictionaries/interaction_basis/seed{seed}/bases.safetensors",
        edges="results/{workload}/dictionaries/interaction_basis/seed{seed}/edges.parquet",
        history="results/{workload}/dictionaries/interaction_basis/seed{seed}/history.parquet",
    log:
        "logs/{workload}/dictionaries/interaction_basis/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "interaction_basis"),
        code=flow.closure("stages/dictionaries/interaction_basis.py"),
    script:
        "interaction_basis.py"
