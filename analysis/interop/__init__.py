"""Interop: recordings of other tools as traces, traces in other formats."""
