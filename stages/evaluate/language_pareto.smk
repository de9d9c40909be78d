rule language_pareto:
    input:
        model=flow.model("evaluate", "pareto"),
        card=flow.card("evaluate", "pareto"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
        activations=flow.activations("evaluate", "train", "pareto"),
        held_out=flow.activations("evaluate", "test", "pareto"),
    output:
        metrics="results/{workload}/evaluate/pareto/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/evaluate/pareto/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("text", "sequences"),
    params:
        settings=flow.settings("evaluate", "pareto"),
        code=flow.closure("stages/evaluate/language_pareto.py"),
    script:
        "language_pareto.py"
