"""The only code that knows Snakemake, DVC, MLflow and the file system."""

from winnow.pipeline.stage import stage as stage
