rule gallery:
    input:
        model=flow.model("evaluate", "gallery"),
        card=flow.card("evaluate", "gallery"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/gallery/seed{seed}/metrics.parquet",
        images="results/{workload}/evaluate/gallery/seed{seed}/images.parquet",
        regions="results/{workload}/evaluate/gallery/seed{seed}/regions.parquet",
        maps="results/{workload}/evaluate/gallery/seed{seed}/maps.safetensors",
    log:
        "logs/{workload}/evaluate/gallery/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "gallery"),
        code=flow.closure("stages/evaluate/gallery.py"),
    script:
        "gallery.py"


rule plot_gallery:
    input:
        images=flow.tables("evaluate", "images.parquet", "gallery"),
        regions=flow.tables("evaluate", "regions.parquet", "gallery"),
        maps=flow.tables("evaluate", "maps.safetensors", "gallery"),
        metrics=flow.tables("evaluate", "metrics.parquet", "gallery"),
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        explanations=report(
            "results/{workload}/evaluate/gallery/explanations.svg",
            caption="../../docs/report/gallery.rst",
            category="Gallery",
            labels={"workload": "{workload}", "figure": "one map of each method"},
        ),
        regions=report(
            "results/{workload}/evaluate/gallery/regions.svg",
            caption="../../docs/report/gallery.rst",
            category="Gallery",
            labels={"workload": "{workload}", "figure": "superpixels with LIME's weights"},
        ),
    log:
        "logs/{workload}/evaluate/plot_gallery.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_gallery.py"),
    script:
        "plot_gallery.py"
