"""Dictionaries of features: sparse autoencoders fitted to activations, and what their quality is measured
with."""

from winnow.dictionaries.dictionary import Dictionary, Sparse, load, save

__all__ = ["Dictionary", "Sparse", "load", "save"]
