"""What a client may take of us."""

from __future__ import annotations

# What a client may take of a connection's time in all, to shake hands, to ask and to take the
# answer, seconds. Prometheus' default time-out.
CLIENT_SECONDS = 10
# A scrape's request is some 300 bytes and has no body.
HEADER_BYTES = 8192
# Connections at once. 5,000 that come and go by TLS take 90 MiB with this (measured), which fits in
# the 256 MiB of the shipped unit.
CONNECTIONS = 128
# Files that are left for all else: /proc, maps, the next connection.
SPARE_FILES = 24
# The longest wait for a scrape in progress when the server stops, seconds.
STOP_SECONDS = 4
