"""tls_server_config of a web configuration."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TypeVar

from nvscope.exporter.web.settings import ciphers, tls
from nvscope.exporter.web.settings.yamlfile import Value, shown

_KEYS = (
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
)
# Key -> why it is refused.
_REFUSED = {
    "cert": "a certificate is read from a file, which is looked at again; say cert_file",
    "key": "a key is read from a file, which others may not read; say key_file",
    "client_ca": "certificates are read from a file; say client_ca_file",
    "client_allowed_sans": "Python's ssl lets in every client that client_ca_file has signed; give"
    " these clients an authority of their own",
    "curve_preferences": "Python's ssl takes no list of curves, and OpenSSL's own is good",
}
_ASKED = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = dict.fromkeys(
    ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"),
    "a certificate that is asked for is verified too; say RequireAndVerifyClientCert",
)
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_TOO_OLD = dict.fromkeys(("TLS10", "TLS11"), "it is not safe (RFC 8996); say TLS12 or TLS13")

_Named = TypeVar("_Named")


def read(value: Value) -> tls.Tls | None:
    """Return what it says, None where that is nothing; its files are read and tried.

    Raises InputError, LackError.
    """
    if not value.entries():
        return None
    table = value.table(*_KEYS, *_REFUSED)
    _require_honoured(table)
    for name in ("cert_file", "key_file"):
        if not table[name].text():
            raise table[name].wrong("is missing; both a certificate and its key are needed")
    wanted = tls.Tls(
        _file(table["cert_file"]),
        _file(table["key_file"]),
        _file(table["client_ca_file"]) if table["client_ca_file"].text() else None,
        _choice(table["client_auth_type"], _ASKED, ssl.CERT_NONE, _UNVERIFIED),
        _choice(table["min_version"], _VERSIONS, ssl.TLSVersion.TLSv1_2, _TOO_OLD),
        _choice(table["max_version"], _VERSIONS, ssl.TLSVersion.TLSv1_3, _TOO_OLD),
        _ciphers(table["cipher_suites"]),
        table["prefer_server_cipher_suites"].flag(absent=True),
    )
    if wanted.least > wanted.most:
        raise table["max_version"].wrong("is below min_version")
    _require_authority(table, wanted)
    tls.context(wanted)
    return wanted


def _require_honoured(table: Mapping[str, Value]) -> None:
    """An empty list asks for nothing but of client_allowed_sans, of which it lets in nobody."""
    for name, why in _REFUSED.items():
        value = table[name]
        if value.kind and (name == "client_allowed_sans" or value.node.value):
            raise value.wrong(f"cannot be honoured: {why}")


def _file(value: Value) -> tls.File:
    return tls.File(value.path.parent / value.text(), value.where)


def _choice(
    value: Value, choices: Mapping[str, _Named], default: _Named, refused: Mapping[str, str]
) -> _Named:
    text = value.text()
    if text in refused:
        raise value.wrong(f"{text} cannot be honoured: {refused[text]}")
    if text and text not in choices:
        raise value.wrong(f"is {', '.join(choices)}, and not {shown(text)}")
    return choices.get(text, default)


def _ciphers(value: Value) -> str:
    """OpenSSL's list of those of TLS 1.2; those of TLS 1.3 are served in any case."""
    names = {each.text(): each for each in value.items()}
    for name, each in names.items():
        if name not in ciphers.OF_TLS12 and name not in ciphers.OF_TLS13:
            raise each.wrong(
                f"{shown(name)} is none with forward secrecy and authenticated encryption;"
                f" there are {', '.join(ciphers.OF_TLS12)}"
            )
    if names and not names.keys() & ciphers.OF_TLS12.keys():
        raise value.wrong("has none of TLS 1.2; where that is meant: min_version: TLS13")
    return ":".join(ciphers.OF_TLS12[name] for name in names if name in ciphers.OF_TLS12)


def _require_authority(table: Mapping[str, Value], wanted: tls.Tls) -> None:
    asked = wanted.verify is not ssl.CERT_NONE
    if asked and not wanted.client_ca:
        raise table["client_auth_type"].wrong("needs client_ca_file")
    if wanted.client_ca and not asked:
        raise table["client_ca_file"].wrong(
            "is without effect; say client_auth_type: RequireAndVerifyClientCert"
        )
