"""Fetch and verify a published language model, once, and keep its file as it is."""

from winnow.pipeline import stage


@stage
def acquire_gguf(inputs, outputs, params, log):
    """Write the GGUF file of a pinned archive."""
    from winnow.pipeline.weights import read_language_model

    data = read_language_model(params.source, "data/sources.yaml")
    log.info("%.1f MB", len(data) / 1e6)
    outputs.model.write_bytes(data)
