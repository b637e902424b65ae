"""Certificates of one's own, and what is served and asked with them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import trustme

from nvscope.exporter.web.settings import config


def issue(authority: trustme.CA, folder: Path, name: str = "") -> None:
    """Write a certificate for 127.0.0.1 and its key: cert.pem and key.pem, after a name."""
    made = authority.issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(str(folder / f"{name}key.pem"))
    chain = b"".join(each.bytes() for each in made.cert_chain_pems)
    (folder / f"{name}cert.pem").write_bytes(chain)


def written(folder: Path, more: str = "") -> Path:
    """A web configuration with these files; more: lines after them."""
    path = folder / "web.yml"
    path.write_text(f"tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n{more}")
    return path


def web(folder: Path, more: str = "") -> config.WebConfig:
    return config.read(written(folder, more))


def trusting(authority: trustme.CA, signer: trustme.CA | None = None) -> ssl.SSLContext:
    """A client's context, with a certificate where there is somebody to sign it."""
    made = ssl.create_default_context()
    authority.configure_trust(made)
    if signer:
        signer.issue_cert("prometheus@example.org").configure_cert(made)
    return made


@contextlib.contextmanager
def speaking(port: int, tls: ssl.SSLContext, timeout: float = 10) -> Iterator[ssl.SSLSocket]:
    """A connection after its handshake."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as sock,
        tls.wrap_socket(sock, server_hostname="127.0.0.1") as made,
    ):
        made.settimeout(timeout)
        yield made


def connections(port: int) -> int:
    """How many the server on this port, in this process, has accepted, which /proc tells."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    mine = set()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed by now
            mine.add(str(each.readlink()))
    return sum(
        row[1].endswith(f":{port:04X}") and row[3] != "0A" and f"socket:[{row[9]}]" in mine
        for row in rows
    )


def wait_for_connections(port: int, wanted: int, seconds: float = 10) -> None:
    """Raises AssertionError where there are others after so long."""
    until = time.monotonic() + seconds
    while (there := connections(port)) != wanted:
        assert time.monotonic() < until, f"{there} connections, and not {wanted}"
        time.sleep(0.05)
