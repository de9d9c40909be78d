"""Evaluation: claims and their charts, calibration, survival of features; one file for each method."""
