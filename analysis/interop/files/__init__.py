"""Traces as files and data sets: Arrow streams, Parquet."""
