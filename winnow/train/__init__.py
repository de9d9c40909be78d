"""Training: one file for each method."""
