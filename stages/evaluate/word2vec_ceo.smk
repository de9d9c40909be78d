rule word2vec_ceo:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        held_out="results/{workload}/curate/all/seed0/held_out.parquet",
    output:
        metrics="results/{workload}/evaluate/word2vec_ceo/seed{seed}/metrics.parquet",
        trials="results/{workload}/evaluate/word2vec_ceo/seed{seed}/trials.parquet",
        found="results/{workload}/evaluate/word2vec_ceo/seed{seed}/found.json",
        vectors="results/{workload}/evaluate/word2vec_ceo/seed{seed}/vectors.safetensors",
        timings="results/{workload}/evaluate/word2vec_ceo/seed{seed}/timings.parquet",
    log:
        "logs/{workload}/evaluate/word2vec_ceo/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("text"),
    params:
        settings=flow.settings("evaluate", "word2vec_ceo"),
        code=flow.closure("stages/evaluate/word2vec_ceo.py"),
    script:
        "word2vec_ceo.py"


rule word2vec_ceo_of_items:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/word2vec_ceo/seed{seed}/metrics.parquet",
        trials="results/{workload}/evaluate/word2vec_ceo/seed{seed}/trials.parquet",
        found="results/{workload}/evaluate/word2vec_ceo/seed{seed}/found.json",
        vectors="results/{workload}/evaluate/word2vec_ceo/seed{seed}/vectors.safetensors",
        timings="results/{workload}/evaluate/word2vec_ceo/seed{seed}/timings.parquet",
    log:
        "logs/{workload}/evaluate/word2vec_ceo/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("interactions"),
    params:
        settings=flow.settings("evaluate", "word2vec_ceo"),
        code=flow.closure("stages/evaluate/word2vec_ceo.py"),
    script:
        "word2vec_ceo.py"


rule plot_word2vec_ceo:
    input:
        trials=flow.tables("evaluate", "trials.parquet", "word2vec_ceo"),
        found=flow.tables("evaluate", "found.json", "word2vec_ceo"),
    output:
        anytime=report(
            "results/{workload}/evaluate/word2vec_ceo/anytime.svg",
            caption="../../docs/report/word2vec_ceo.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "word2vec: best score so far"},
        ),
        law=report(
            "results/{workload}/evaluate/word2vec_ceo/law.svg",
            caption="../../docs/report/word2vec_ceo.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "word2vec: what is drawn, round by round"},
        ),
        trials=report(
            "results/{workload}/evaluate/word2vec_ceo/trials.svg",
            caption="../../docs/report/word2vec_ceo.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "word2vec: every trial"},
        ),
        neighbours=report(
            "results/{workload}/evaluate/word2vec_ceo/neighbours.csv",
            caption="../../docs/report/word2vec_ceo.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "word2vec: neighbours, table"},
        ),
    log:
        "logs/{workload}/evaluate/plot_word2vec_ceo.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_word2vec_ceo.py"),
    script:
        "plot_word2vec_ceo.py"
