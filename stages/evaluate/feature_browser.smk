rule feature_browser:
    input:
        model=flow.model("evaluate", "feature_browser"),
        card=flow.card("evaluate", "feature_browser"),
        dictionary=flow.dictionary("feature_browser", "dictionary.safetensors"),
        description=flow.dictionary("feature_browser", "dictionary.json"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
    output:
        page=report(
            "results/{workload}/evaluate/feature_browser/seed{seed}/browser.html",
            caption="../../docs/report/feature_browser.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "features to leaf through"},
        ),
        features="results/{workload}/evaluate/feature_browser/seed{seed}/features.parquet",
        metrics="results/{workload}/evaluate/feature_browser/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/evaluate/feature_browser/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "feature_browser"),
        code=flow.closure("stages/evaluate/feature_browser.py"),
    script:
        "feature_browser.py"
