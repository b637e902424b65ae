"""Traces for ui.perfetto.dev."""
