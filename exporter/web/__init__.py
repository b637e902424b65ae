"""The exporter's side of HTTP: pages, who may read them, and the servers that serve them."""
