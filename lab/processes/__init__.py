"""Processes on this machine: how long they live, and a Prometheus for tests."""
