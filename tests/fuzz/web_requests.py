"""Bytes that a client may send, to a server that serves metrics with a password to them.

Expected is an answer with a status that is the client's to bear, or none; never a word in the log.
"""

from __future__ import annotations

import functools
import logging
import re
import socket
import threading

import bcrypt
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge

from nvscope.exporter.web import pages
from nvscope.exporter.web.access.authentication import Authentication
from nvscope.exporter.web.connections import listen, server
from nvscope.exporter.web.settings.config import WebConfig

_STATUS = re.compile(rb"HTTP/1\.1 (200|400|401|404|405|417|429|431|501|505) [ -~]*\r\n")
_LEAST_SECONDS = 20  # of patience with the server: the runner's bound is shorter

_words = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b"PRI", b"get", b"", b"/metrics", b"/", b"/healthz", b"*", b"//",
     b"http://x/metrics", b"https://[::1]:9/healthz", b"http://[", b"/%6detrics", b"/%zz", b"\xff",
     b"/metrics?name[]=up&name[]=x", b"/metrics?name%5B%5D=" + b"x" * 9000, b"?", b"#a", b"\0",
     b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.1\r\nHost: x", b"HTTP/9"]
)  # fmt: skip
_names = st.sampled_from(
    [b"Host", b"Accept", b"Accept-Encoding", b"Authorization", b"Content-Length", b"Connection",
     b"Transfer-Encoding", b"Expect", b"Upgrade", b"X", b"", b" ", b"host", b"Cookie", b":"]
)  # fmt: skip
_values = st.sampled_from(
    [b"x", b"", b"application/openmetrics-text; version=abc", b"text/plain;version=1.0.0", b"gzip",
     b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1", b"chunked",
     b"Basic cDpyaWdodA==", b"Basic ?", b"Bearer x", b"Basic " + b"A" * 200, b"0", b"-1", b"9" * 30,
     b"3", b"100-continue", b"h2c", b"close", b"keep-alive", b"a" * 9000, b"\xff\xfe", b"a\r\n b",
     b";;;=,=;q=", b"gzip;q=0", b"identity, gzip"]
) | st.binary(max_size=30)  # fmt: skip
_line = st.lists(_words, min_size=1, max_size=4).map(b" ".join)
_headers = st.lists(st.tuples(_names, _values).map(b": ".join), max_size=5)
_good = b"GET /metrics HTTP/1.1\r\nHost: x"
_request = st.builds(
    lambda line, headers, body: b"\r\n".join([line, *headers, b"", body]),
    st.sampled_from([_good, _good + b"\r\nAuthorization: Basic cDpyaWdodA=="]) | _line,
    _headers,
    st.sampled_from([b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"zz\r\n"]) | st.binary(max_size=40),
)
EXAMPLES: st.SearchStrategy[bytes] = st.one_of(
    _request,
    st.lists(_request, max_size=4).map(b"".join),
    st.builds(lambda text, at, what: text[:at] + what + text[at:], _request,
              st.integers(0, 60), st.binary(max_size=6)),
    st.builds(lambda text, length: text[:length], _request, st.integers(0, 200)),
    st.binary(max_size=300),
)  # fmt: skip


class _Said(logging.Handler):
    """What was logged since it was last asked."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@functools.cache
def _server() -> tuple[int, _Said]:
    """Its port, and what it says; it serves until the process ends."""
    registry = CollectorRegistry()
    Gauge("up", "Whether.", registry=registry).set(1)
    said = _Said()
    logging.getLogger().addHandler(said)
    sock = listen.listen("127.0.0.1", 0)
    authentication = Authentication(
        WebConfig(users={"p": bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()})
    )
    made = server.Server(authentication.around(pages.application(registry)), [sock])
    made.start()
    threading.Thread(target=_stop_at_end, args=(made,)).start()
    return sock.getsockname()[1], said


def _stop_at_end(made: server.Server) -> None:
    threading.main_thread().join()
    made.stop()


def attempt(example: bytes) -> None:
    """Send one, and no more; raises AssertionError, and TimeoutError where nothing comes."""
    port, said = _server()
    answer = _answer(port, example)
    assert not answer or _STATUS.match(answer), answer[:200]
    assert not said.lines, said.lines
    assert _answer(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"\r\n\r\nok\n")


def _answer(port: int, example: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), _LEAST_SECONDS) as sock:
        try:
            sock.sendall(example)
            sock.shutdown(socket.SHUT_WR)
            return sock.makefile("rb").read()
        except ConnectionError:  # it had its answer before it had said all
            return b""
