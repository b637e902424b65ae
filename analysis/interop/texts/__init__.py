"""Recordings of ftrace and perf: texts, and what to record with them."""
