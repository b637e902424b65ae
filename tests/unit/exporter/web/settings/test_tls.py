"""tls_server_config: what it lets through, and where it is said to be wrong."""

from __future__ import annotations

import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from nvscope.exporter.web.settings import config, tls
from nvscope.probes.errors import InputError, LackError
from tests.unit.exporter.web.certificates import issue, web, written

AUTHORITY = trustme.CA()
AES128 = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    issue(AUTHORITY, tmp_path)
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    return tmp_path


def test_the_least(folder: Path) -> None:
    asked = web(folder).tls
    assert asked is not None
    made = tls.context(asked)
    assert (made.minimum_version, made.maximum_version) == (
        ssl.TLSVersion.TLSv1_2,
        ssl.TLSVersion.TLSv1_3,
    )
    assert made.verify_mode is ssl.CERT_NONE
    assert made.options & ssl.OP_CIPHER_SERVER_PREFERENCE


def test_all_that_there_is(folder: Path) -> None:
    more = f"""
  client_auth_type: VerifyClientCertIfGiven
  client_ca_file: clients.pem
  min_version: TLS12
  max_version: TLS13
  prefer_server_cipher_suites: false
  cipher_suites:
    - {AES128}
    - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    - TLS_AES_128_GCM_SHA256
http_server_config:
  http2: false
"""
    asked = web(folder, more).tls
    assert asked is not None
    made = tls.context(asked)
    assert made.verify_mode is ssl.CERT_OPTIONAL
    assert not made.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    older = [each["name"] for each in made.get_ciphers() if each["protocol"] == "TLSv1.2"]
    assert older == ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"]


@pytest.mark.parametrize("name", ["cert.pem", "key.pem", "clients.pem"])
def test_a_file_that_cannot_be_read(folder: Path, name: str) -> None:
    number = {"cert.pem": 2, "key.pem": 3, "clients.pem": 4}[name]
    path = folder / name
    path.unlink()
    more = "  client_ca_file: clients.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
    with pytest.raises(LackError) as told:
        web(folder, more)
    where = f"{folder / 'web.yml'} line {number}"
    assert told.value.message == f"{where}: cannot read {path}: No such file or directory"
    path.mkdir()
    with pytest.raises(LackError, match=f"line {number}: cannot read .*: Is a directory"):
        web(folder, more)


def test_paths_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert web(folder).tls
    shutil.move(folder / "cert.pem", folder / "elsewhere")
    with pytest.raises(LackError, match=r"cannot read .*/cert.pem"):
        web(folder)


def fails(folder: Path, more: str = "") -> str:
    """What is said, after the file's name."""
    with pytest.raises(InputError) as told:
        web(folder, more)
    return told.value.message.removeprefix(f"{folder / 'web.yml'} ")


def test_an_expired_certificate(folder: Path) -> None:
    _issue_dated(folder, -timedelta(days=9), -timedelta(days=1))
    assert fails(folder) == f"line 2: {folder / 'cert.pem'} has expired"
    _issue_dated(folder, timedelta(days=1), timedelta(days=9))
    assert fails(folder) == f"line 2: {folder / 'cert.pem'} is not valid yet"


def _issue_dated(folder: Path, begin: timedelta, end: timedelta) -> None:
    now = datetime.now(UTC)
    made = AUTHORITY.issue_cert("127.0.0.1", not_before=now + begin, not_after=now + end)
    made.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    made.private_key_pem.write_to_path(str(folder / "key.pem"))


def test_the_key_of_another_certificate(folder: Path) -> None:
    issue(AUTHORITY, folder, "other-")
    shutil.move(folder / "other-key.pem", folder / "key.pem")
    assert fails(folder) == f"line 3: {folder / 'key.pem'} is not the key of {folder / 'cert.pem'}"


def test_an_encrypted_key(folder: Path) -> None:
    path = folder / "key.pem"
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert fails(folder).startswith(f"line 3: {path} is encrypted: ")


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN CERTIFICATE-----\nx\n"])
def test_no_certificate(folder: Path, text: str) -> None:
    (folder / "cert.pem").write_text(text)
    assert fails(folder) == f"line 2: {folder / 'cert.pem'} has no certificate in PEM"


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN PRIVATE KEY-----\nx\n"])
def test_no_key(folder: Path, text: str) -> None:
    (folder / "key.pem").write_text(text)
    assert fails(folder).startswith(f"line 3: {folder / 'key.pem'} and {folder / 'cert.pem'} will")


def test_no_authority(folder: Path) -> None:
    (folder / "clients.pem").write_text("x")
    more = "  client_ca_file: clients.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
    assert fails(folder, more) == f"line 4: {folder / 'clients.pem'} has no certificate in PEM"


def test_a_certificate_that_no_cipher_suite_is_for(folder: Path) -> None:
    more = f"  max_version: TLS12\n  cipher_suites: [{AES128}]"  # the key is an elliptic curve's
    said = "cert.pem will not do: NO_SHARED_CIPHER; see cipher_suites and versions"
    assert said in fails(folder, more)


def test_a_file_of_no_file_system(folder: Path) -> None:
    path = written(folder)
    path.write_text(path.read_text().replace("cert.pem", "x" * 300))
    with pytest.raises(LackError, match=r"line 2: cannot read .*: File name too long"):
        config.read(path)
