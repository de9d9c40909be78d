rule subword:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        held_out="results/{workload}/curate/all/seed0/held_out.parquet",
    output:
        metrics="results/{workload}/evaluate/subword/seed{seed}/metrics.parquet",
        pieces="results/{workload}/evaluate/subword/seed{seed}/pieces.parquet",
        cuts="results/{workload}/evaluate/subword/seed{seed}/cuts.parquet",
        tokenizer="results/{workload}/evaluate/subword/seed{seed}/tokenizer.json",
    log:
        "logs/{workload}/evaluate/subword/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "subword"),
        code=flow.closure("stages/evaluate/subword.py"),
    script:
        "subword.py"


rule plot_subword:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "subword"),
        pieces=flow.tables("evaluate", "pieces.parquet", "subword"),
        cuts=flow.tables("evaluate", "cuts.parquet", "subword"),
    output:
        code_length=report(
            "results/{workload}/evaluate/subword/code_length.svg",
            caption="../../docs/report/subword.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "sub-words: code length"},
        ),
        piece_lengths=report(
            "results/{workload}/evaluate/subword/piece_lengths.svg",
            caption="../../docs/report/subword.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "sub-words: lengths of pieces"},
        ),
        exchanged=report(
            "results/{workload}/evaluate/subword/exchanged.svg",
            caption="../../docs/report/subword.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "sub-words: gained and lost against BPE"},
        ),
        cuts=report(
            "results/{workload}/evaluate/subword/cuts.svg",
            caption="../../docs/report/subword.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "sub-words: identifiers"},
        ),
    log:
        "logs/{workload}/evaluate/plot_subword.log",
    params:
        settings=flow.settings("evaluate", "subword"),
        code=flow.closure("stages/evaluate/plot_subword.py"),
    script:
        "plot_subword.py"
