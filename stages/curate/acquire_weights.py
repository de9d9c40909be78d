"""Fetch and verify published weights, once, and keep them as plain tensors."""

from winnow.pipeline import stage


@stage(torch=True)
def acquire_weights(inputs, outputs, params, log):
    """Write the tensors of a pinned state dict under their published names."""
    from safetensors.torch import save_file

    from winnow.pipeline.weights import read_weights

    tensors = read_weights(params.source, "data/sources.yaml")
    log.info("%d tensors, %d values", len(tensors), sum(tensor.numel() for tensor in tensors.values()))
    save_file({name: tensors[name].contiguous() for name in sorted(tensors)}, outputs.weights)
