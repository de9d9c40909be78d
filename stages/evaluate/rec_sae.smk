rule rec_sae:
    input:
        model=flow.model("evaluate", "rec_sae"),
        card=flow.card("evaluate", "rec_sae"),
        dictionary=flow.dictionary("rec_sae", "dictionary.safetensors"),
        description=flow.dictionary("rec_sae", "dictionary.json"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
        users="results/{workload}/curate/all/seed0/users.parquet",
        catalogue="results/{workload}/curate/all/seed0/items.parquet",
    output:
        metrics="results/{workload}/evaluate/rec_sae/seed{seed}/metrics.parquet",
        concepts="results/{workload}/evaluate/rec_sae/seed{seed}/concepts.parquet",
        confidence="results/{workload}/evaluate/rec_sae/seed{seed}/confidence.parquet",
        ablation="results/{workload}/evaluate/rec_sae/seed{seed}/ablation.parquet",
        edits="results/{workload}/evaluate/rec_sae/seed{seed}/edits.parquet",
        cards="results/{workload}/evaluate/rec_sae/seed{seed}/cards.parquet",
    log:
        "logs/{workload}/evaluate/rec_sae/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "rec_sae"),
        code=flow.closure("stages/evaluate/rec_sae.py"),
    script:
        "rec_sae.py"


rule plot_rec_sae:
    input:
        confidence=flow.tables("evaluate", "confidence.parquet", "rec_sae"),
        concepts=flow.tables("evaluate", "concepts.parquet", "rec_sae"),
        edits=flow.tables("evaluate", "edits.parquet", "rec_sae"),
        cards=flow.tables("evaluate", "cards.parquet", "rec_sae"),
    output:
        confidence=report(
            "results/{workload}/evaluate/rec_sae/confidence.svg",
            caption="../../docs/report/rec_sae.rst",
            category="Recommenders",
            labels={"workload": "{workload}", "figure": "how far concepts of latents can be relied on"},
        ),
        cards=report(
            "results/{workload}/evaluate/rec_sae/cards.svg",
            caption="../../docs/report/rec_sae.rst",
            category="Recommenders",
            labels={"workload": "{workload}", "figure": "what some latents answer to"},
        ),
        edits=report(
            "results/{workload}/evaluate/rec_sae/edits.svg",
            caption="../../docs/report/rec_sae.rst",
            category="Recommenders",
            labels={"workload": "{workload}", "figure": "what taking latents out does"},
        ),
    log:
        "logs/{workload}/evaluate/plot_rec_sae.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_rec_sae.py"),
    script:
        "plot_rec_sae.py"
