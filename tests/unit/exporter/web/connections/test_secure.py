"""TLS on loopback: who is served, and certificates that change."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web.connections import limits
from tests.unit.exporter.fakes import FakeSource
from tests.unit.exporter.web.certificates import issue, speaking, trusting, web
from tests.unit.exporter.web.client import HASH, basic, get, raw, serving

CLIENTS = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n"
REFUSED = (ssl.SSLError, ConnectionError)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    return trusting(authority)


@pytest.fixture
def folder(authority: trustme.CA, tmp_path: Path) -> Path:
    issue(authority, tmp_path)
    authority.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    return tmp_path


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    with serving(VmCollector(FakeSource()), web(folder)) as port:
        yield port


def test_pages(port: int, tls: ssl.SSLContext) -> None:
    response, body = get(port, "/metrics", tls=tls)
    assert (response.status, b"nvscope_up 1.0" in body) == (200, True)
    assert "Server" not in response.headers
    assert get(port, "/", tls=tls)[0].status == 200
    assert get(port, "/healthz", tls=tls)[1] == b"ok\n"
    assert get(port, "/x", tls=tls)[0].status == 404
    assert get(port, "/metrics", method="POST", tls=tls)[0].status == 405


def test_a_header_that_is_too_long(port: int, tls: ssl.SSLContext) -> None:
    long = {"X": "a" * limits.HEADER_BYTES}
    assert get(port, "/metrics", long, tls=tls)[0].status == 431


def test_passwords(folder: Path, tls: ssl.SSLContext) -> None:
    asked = web(folder, f"basic_auth_users:\n  p: {HASH}\n")
    with serving(VmCollector(FakeSource()), asked) as port:
        response, _ = get(port, "/metrics", tls=tls)
        assert (response.status, response.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        assert get(port, "/metrics", basic("p", "wrong"), tls=tls)[0].status == 401
        assert get(port, "/metrics", basic("p", "right"), tls=tls)[0].status == 200
        assert get(port, "/healthz", tls=tls)[0].status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("signer", [None, trustme.CA()])
def test_clients_that_must_have_a_certificate(
    folder: Path, authority: trustme.CA, version: ssl.TLSVersion, signer: trustme.CA | None
) -> None:
    """One has none, or one that somebody else has signed."""
    other = trusting(authority, signer)
    other.maximum_version = version
    with serving(VmCollector(FakeSource()), web(folder, CLIENTS)) as port:
        with pytest.raises(REFUSED):
            get(port, "/healthz", tls=other)
        assert get(port, "/metrics", tls=trusting(authority, authority))[0].status == 200


def test_clients_that_may_have_one(folder: Path, authority: trustme.CA) -> None:
    may = CLIENTS.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
    with serving(VmCollector(FakeSource()), web(folder, may)) as port:
        assert get(port, "/metrics", tls=trusting(authority))[0].status == 200
        assert get(port, "/metrics", tls=trusting(authority, authority))[0].status == 200
        with pytest.raises(REFUSED):
            get(port, "/metrics", tls=trusting(authority, trustme.CA()))


def test_versions_and_ciphers(folder: Path, authority: trustme.CA) -> None:
    more = "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n"
    tls = trusting(authority)
    with serving(VmCollector(FakeSource()), web(folder, more)) as port:
        with speaking(port, tls) as sock:
            assert sock.version() == "TLSv1.2"
            assert (sock.cipher() or ("",))[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        with pytest.raises(REFUSED):
            get(port, "/metrics", tls=tls)


def test_a_least_version(folder: Path, authority: trustme.CA) -> None:
    tls = trusting(authority)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        serving(VmCollector(FakeSource()), web(folder, "  min_version: TLS13\n")) as port,
        pytest.raises(REFUSED),
    ):
        get(port, "/metrics", tls=tls)


def test_plain_http_is_told_at_once(port: int) -> None:
    before = time.monotonic()
    response, body = get(port, "/healthz")
    assert (response.status, body) == (400, b"This port speaks TLS only: ask by https://.\n")
    assert raw(port, b"nonsense").startswith(b"HTTP/1.1 400 ")
    assert time.monotonic() - before < limits.CLIENT_SECONDS / 2


def test_a_certificate_that_changes(
    folder: Path, authority: trustme.CA, tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    cert = folder / "cert.pem"
    with serving(VmCollector(FakeSource()), web(folder)) as port:
        first = _served(port, tls)
        cert.write_text("half of a")
        assert [_served(port, tls) for _ in range(3)] == [first] * 3
        assert [each.getMessage() for each in caplog.records] == [
            f"{folder / 'web.yml'} line 2: {cert} has no certificate in PEM;"
            " the certificate stays as it was"
        ]
        caplog.clear()
        issue(authority, folder)
        assert first != _served(port, tls) == _served(port, tls)
        assert [each.getMessage() for each in caplog.records] == [f"read {cert} again"]


def _served(port: int, tls: ssl.SSLContext) -> bytes | None:
    with speaking(port, tls) as sock:
        return sock.getpeercert(binary_form=True)
