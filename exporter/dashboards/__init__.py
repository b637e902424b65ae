"""A Grafana dashboard, nvscope.json, and what makes it."""
