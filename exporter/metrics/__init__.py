"""Metric families: from counts to names, labels and values."""
