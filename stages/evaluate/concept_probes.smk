rule concept_probes:
    input:
        model=flow.model("evaluate", "concept_probes"),
        card=flow.card("evaluate", "concept_probes"),
        weights=flow.weights_of("evaluate", "concept_probes"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/concept_probes/seed{seed}/metrics.parquet",
        cosines="results/{workload}/evaluate/concept_probes/seed{seed}/cosines.parquet",
        learnability="results/{workload}/evaluate/concept_probes/seed{seed}/learnability.parquet",
        explanations="results/{workload}/evaluate/concept_probes/seed{seed}/explanations.parquet",
        units="results/{workload}/evaluate/concept_probes/seed{seed}/units.parquet",
        directions="results/{workload}/evaluate/concept_probes/seed{seed}/directions.safetensors",
    log:
        "logs/{workload}/evaluate/concept_probes/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "concept_probes"),
        code=flow.closure("stages/evaluate/concept_probes.py"),
    script:
        "concept_probes.py"


rule plot_concept_probes:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "concept_probes"),
        cosines=flow.tables("evaluate", "cosines.parquet", "concept_probes"),
        learnability=flow.tables("evaluate", "learnability.parquet", "concept_probes"),
        explanations=flow.tables("evaluate", "explanations.parquet", "concept_probes"),
    output:
        fidelity=report(
            "results/{workload}/evaluate/concept_probes/fidelity.svg",
            caption="../../docs/report/concept_probes.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "fidelity in and across probe sets"},
        ),
        cosines=report(
            "results/{workload}/evaluate/concept_probes/cosines.svg",
            caption="../../docs/report/concept_probes.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "cosines of concepts across and within probe sets"},
        ),
        learnability=report(
            "results/{workload}/evaluate/concept_probes/learnability.svg",
            caption="../../docs/report/concept_probes.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "learnability of concepts and classes"},
        ),
        truncation=report(
            "results/{workload}/evaluate/concept_probes/truncation.svg",
            caption="../../docs/report/concept_probes.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "fidelity by number of concepts"},
        ),
        weights=report(
            "results/{workload}/evaluate/concept_probes/weights.svg",
            caption="../../docs/report/concept_probes.rst",
            category="Gallery",
            labels={"workload": "{workload}", "figure": "what concepts count for each class"},
        ),
    log:
        "logs/{workload}/evaluate/plot_concept_probes.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_concept_probes.py"),
    script:
        "plot_concept_probes.py"
