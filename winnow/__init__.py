"""Winnow: reproducible stages that take raw data to small, clear models."""

__version__ = "0.1.0"
