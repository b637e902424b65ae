"""What a client may take of us, of whichever server."""

from __future__ import annotations

# Scrapes run one at a time (collector.py); a second thread serves the landing page meanwhile.
THREADS = 2
# A connection that is idle for so long, or takes so long to send a request, is closed, seconds.
# Prometheus' default time-out.
SILENCE_SECONDS = 10
# A scrape's request is some 300 bytes and has no body.
HEADER_BYTES = 8192
BODY_BYTES = 1024
# The longest wait for a scrape in progress when the server stops, seconds.
STOP_SECONDS = 30
