rule local_interaction_basis:
    input:
        model=flow.model("evaluate", "local_interaction_basis"),
        card=flow.card("evaluate", "local_interaction_basis"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        bases="results/{workload}/dictionaries/local_interaction_basis/seed{seed}/bases.safetensors",
        edges="results/{workload}/dictionaries/local_interaction_basis/seed{seed}/edges.parquet",
    log:
        "logs/{workload}/dictionaries/local_interaction_basis/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("images", "text"),
    params:
        settings=flow.settings("evaluate", "local_interaction_basis"),
        code=flow.closure("stages/dictionaries/local_interaction_basis.py"),
    script:
        "local_interaction_basis.py"


rule local_interaction_basis_of_sums:
    input:
        model=flow.model("evaluate", "local_interaction_basis"),
        card=flow.card("evaluate", "local_interaction_basis"),
    output:
        bases="results/{workload}/dictionaries/local_interaction_basis/seed{seed}/bases.safetensors",
        edges="results/{workload}/dictionaries/local_interaction_basis/seed{seed}/edges.parquet",
    log:
        "logs/{workload}/dictionaries/local_interaction_basis/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("sequences"),
    params:
        settings=flow.settings("evaluate", "local_interaction_basis"),
        code=flow.closure("stages/dictionaries/local_interaction_basis.py"),
    script:
        "local_interaction_basis.py"
