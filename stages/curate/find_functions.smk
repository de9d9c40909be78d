rule find_functions:
    output:
        functions="results/{workload}/curate/find_functions/seed{seed}/functions.parquet",
    log:
        "logs/{workload}/curate/find_functions/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "find_benchmark"),
        code=flow.closure("stages/curate/find_functions.py"),
    script:
        "find_functions.py"
