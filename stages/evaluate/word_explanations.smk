rule word_explanations:
    input:
        documents=[
            "results/{workload}/curate/all/seed0/train.parquet",
            "results/{workload}/curate/all/seed0/valid.parquet",
            "results/{workload}/curate/all/seed0/test.parquet",
        ],
    output:
        metrics="results/{workload}/evaluate/word_explanations/seed{seed}/metrics.parquet",
        joined="results/{workload}/evaluate/word_explanations/seed{seed}/joined.parquet",
        words="results/{workload}/evaluate/word_explanations/seed{seed}/words.parquet",
        phrases="results/{workload}/evaluate/word_explanations/seed{seed}/phrases.parquet",
        user="results/{workload}/evaluate/word_explanations/seed{seed}/user.parquet",
    log:
        "logs/{workload}/evaluate/word_explanations/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "word_explanations"),
        code=flow.closure("stages/evaluate/word_explanations.py"),
    script:
        "word_explanations.py"


rule plot_word_explanations:
    input:
        joined=flow.tables("evaluate", "joined.parquet", "word_explanations"),
        words=flow.tables("evaluate", "words.parquet", "word_explanations"),
        phrases=flow.tables("evaluate", "phrases.parquet", "word_explanations"),
        user=flow.tables("evaluate", "user.parquet", "word_explanations"),
    output:
        joined=report(
            "results/{workload}/evaluate/word_explanations/joined.svg",
            caption="../../docs/report/word_explanations.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "words: texts of two topics"},
        ),
        phrases=report(
            "results/{workload}/evaluate/word_explanations/phrases.svg",
            caption="../../docs/report/word_explanations.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "words: planted phrases"},
        ),
        user=report(
            "results/{workload}/evaluate/word_explanations/user.svg",
            caption="../../docs/report/word_explanations.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "words: the better of two models"},
        ),
        words=report(
            "results/{workload}/evaluate/word_explanations/words.svg",
            caption="../../docs/report/word_explanations.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "words: coloured texts"},
        ),
    log:
        "logs/{workload}/evaluate/plot_word_explanations.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_word_explanations.py"),
    script:
        "plot_word_explanations.py"
