rule concept_study:
    input:
        model=flow.model("evaluate", "concept_study"),
        card=flow.card("evaluate", "concept_study"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        explanations="results/{workload}/evaluate/concept_probes/seed{seed}/explanations.parquet",
    output:
        page="results/{workload}/evaluate/concept_study/seed{seed}/index.html",
        metrics="results/{workload}/evaluate/concept_study/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/evaluate/concept_study/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "concept_study"),
        code=flow.closure("stages/evaluate/concept_study.py"),
    script:
        "concept_study.py"
