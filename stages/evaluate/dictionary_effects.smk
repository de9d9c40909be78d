rule dictionary_effects:
    input:
        models=flow.models("evaluate", "dictionary_effects", "model.safetensors"),
        cards=flow.models("evaluate", "dictionary_effects", "model.json"),
        activations=flow.activations_of_models("dictionary_effects", "train"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/dictionary_effects/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/evaluate/dictionary_effects/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "dictionary_effects"),
        code=flow.closure("stages/evaluate/dictionary_effects.py"),
    script:
        "dictionary_effects.py"


rule plot_dictionary_effects:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "dictionary_effects"),
    output:
        effects=report(
            "results/{workload}/evaluate/dictionary_effects/effects.svg",
            caption="../../docs/report/dictionary_effects.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "dictionaries under compression"},
        ),
        table=report(
            "results/{workload}/evaluate/dictionary_effects/effects.csv",
            caption="../../docs/report/dictionary_effects.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "dictionaries under compression, table"},
        ),
    log:
        "logs/{workload}/evaluate/plot_dictionary_effects.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_dictionary_effects.py"),
    script:
        "plot_dictionary_effects.py"
