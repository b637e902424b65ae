"""tls_server_config of a web configuration."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TypeVar

from nvscope.exporter.web import ciphers, tls
from nvscope.exporter.web.yamlfile import Value

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
_REFUSED = {
    "cert": "it is read from a file only; say cert_file",
    "key": "it is read from a file only; say key_file",
    "client_ca": "it is read from a file only; say client_ca_file",
    "client_allowed_sans": "whoever client_ca_file has signed is let in",
    "curve_preferences": "OpenSSL's are used",
}
_ASKED = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = dict.fromkeys(
    ("RequestClientCert", "RequireAnyClientCert"),
    "a certificate that is asked for is verified too; say RequireAndVerifyClientCert",
)
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_TOO_OLD = dict.fromkeys(("TLS10", "TLS11"), "it is not safe (RFC 8996); TLS12 or TLS13")

_Named = TypeVar("_Named")


def read(value: Value) -> tls.Tls:
    """Return what it says; its files are read and tried. Raises InputError, LackError."""
    table = value.known("tls_server_config", _KEYS, _REFUSED)
    for name in ("cert_file", "key_file"):
        if name not in table:
            raise value.wrong(f"tls_server_config has no {name}")
    wanted = tls.Tls(
        _file(table["cert_file"], "cert_file"),
        _file(table["key_file"], "key_file"),
        _file(table["client_ca_file"], "client_ca_file") if "client_ca_file" in table else None,
        _choice(table, "client_auth_type", _ASKED, ssl.CERT_NONE, _UNVERIFIED),
        _choice(table, "min_version", _VERSIONS, ssl.TLSVersion.TLSv1_2, _TOO_OLD),
        _choice(table, "max_version", _VERSIONS, ssl.TLSVersion.TLSv1_3, _TOO_OLD),
        _ciphers(table["cipher_suites"]) if "cipher_suites" in table else "",
        _flag(table, "prefer_server_cipher_suites"),
    )
    if wanted.least > wanted.most:
        raise table["max_version"].wrong("max_version is below min_version")
    _require_authority(table, wanted)
    tls.context(wanted)
    return wanted


def _file(value: Value, what: str) -> tls.File:
    return tls.File(value.path.parent / value.text(what), value.where)


def _flag(table: Mapping[str, Value], name: str) -> bool:
    return table[name].flag(name) if name in table else True


def _choice(
    table: Mapping[str, Value],
    name: str,
    choices: Mapping[str, _Named],
    default: _Named,
    refused: Mapping[str, str],
) -> _Named:
    if name not in table:
        return default
    text = table[name].text(name)
    if text in refused:
        raise table[name].wrong(f"{name} {text} cannot be honoured: {refused[text]}")
    if text not in choices:
        raise table[name].wrong(f"{name} is {', '.join(choices)}, and not {text!r}")
    return choices[text]


def _ciphers(value: Value) -> str:
    names = value.items("cipher_suites")
    texts = [_cipher(each) for each in names]
    if not any(texts):
        raise value.wrong(
            "cipher_suites has none of TLS 1.2; where that is meant: min_version: TLS13"
        )
    return ":".join(filter(None, texts))


def _cipher(value: Value) -> str:
    """OpenSSL's name; nothing for one of TLS 1.3, which is served in any case."""
    name = value.text("a cipher suite")
    if name in ciphers.OF_TLS13:
        return ""
    if name not in ciphers.OF_TLS12:
        there = ", ".join(ciphers.OF_TLS12)
        raise value.wrong(f"cipher suite {name} cannot be honoured; there are {there}")
    return ciphers.OF_TLS12[name]


def _require_authority(table: Mapping[str, Value], wanted: tls.Tls) -> None:
    asked = wanted.verify is not ssl.CERT_NONE
    if asked and not wanted.client_ca:
        raise table["client_auth_type"].wrong("client_auth_type needs client_ca_file")
    if wanted.client_ca and not asked:
        text = "client_ca_file is without effect; say client_auth_type: RequireAndVerifyClientCert"
        raise table["client_ca_file"].wrong(text)
