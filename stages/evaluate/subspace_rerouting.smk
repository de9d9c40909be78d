rule subspace_rerouting:
    input:
        documents=[
            "results/{workload}/curate/all/seed0/train.parquet",
            "results/{workload}/curate/all/seed0/valid.parquet",
            "results/{workload}/curate/all/seed0/test.parquet",
        ],
    output:
        metrics="results/{workload}/evaluate/subspace_rerouting/seed{seed}/metrics.parquet",
        attacks="results/{workload}/evaluate/subspace_rerouting/seed{seed}/attacks.parquet",
        moved="results/{workload}/evaluate/subspace_rerouting/seed{seed}/moved.parquet",
        plane="results/{workload}/evaluate/subspace_rerouting/seed{seed}/plane.parquet",
        scores="results/{workload}/evaluate/subspace_rerouting/seed{seed}/scores.parquet",
        words="results/{workload}/evaluate/subspace_rerouting/seed{seed}/words.parquet",
        suffixes="results/{workload}/evaluate/subspace_rerouting/seed{seed}/suffixes.parquet",
    log:
        "logs/{workload}/evaluate/subspace_rerouting/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "subspace_rerouting"),
        code=flow.closure("stages/evaluate/subspace_rerouting.py"),
    script:
        "subspace_rerouting.py"


rule plot_subspace_rerouting:
    input:
        attacks=flow.tables("evaluate", "attacks.parquet", "subspace_rerouting"),
        moved=flow.tables("evaluate", "moved.parquet", "subspace_rerouting"),
        plane=flow.tables("evaluate", "plane.parquet", "subspace_rerouting"),
        scores=flow.tables("evaluate", "scores.parquet", "subspace_rerouting"),
    output:
        work=report(
            "results/{workload}/evaluate/subspace_rerouting/work.svg",
            caption="../../docs/report/subspace_rerouting.rst",
            category="Robustness of refusal",
            labels={"workload": "{workload}", "figure": "success by work"},
        ),
        cosines=report(
            "results/{workload}/evaluate/subspace_rerouting/cosines.svg",
            caption="../../docs/report/subspace_rerouting.rst",
            category="Robustness of refusal",
            labels={"workload": "{workload}", "figure": "cosine with refusal by block"},
        ),
        plane=report(
            "results/{workload}/evaluate/subspace_rerouting/plane.svg",
            caption="../../docs/report/subspace_rerouting.rst",
            category="Robustness of refusal",
            labels={"workload": "{workload}", "figure": "activations before and after"},
        ),
        detectors=report(
            "results/{workload}/evaluate/subspace_rerouting/detectors.svg",
            caption="../../docs/report/subspace_rerouting.rst",
            category="Robustness of refusal",
            labels={"workload": "{workload}", "figure": "detectors"},
        ),
    log:
        "logs/{workload}/evaluate/plot_subspace_rerouting.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_subspace_rerouting.py"),
    script:
        "plot_subspace_rerouting.py"
