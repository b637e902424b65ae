"""Web configurations as people write them for Prometheus' exporters, and what becomes of each."""

# One case a line, as a table.
# ruff: noqa: E501

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Of "right".
HASH = "$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC"
OLD = HASH.replace("$2b$", "$2y$")
DEAR = HASH.replace("$04$", "$15$")
AES128 = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
CBC = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
PEM = "|\n    -----BEGIN CERTIFICATE-----\n    MIIB\n    -----END CERTIFICATE-----\n"
FILES = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
VERIFIED = "  client_auth_type: RequireAndVerifyClientCert\n"


@dataclass(frozen=True)
class Good:
    """What it is accepted as. tls: fields of tls.Tls; None: plain HTTP."""

    tls: Mapping[str, Any] | None = None
    users: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """becomes: what it is accepted as, or all that is said after the file's name. FOLDER stands for
    its folder. elsewhere: whether exporter-toolkit takes it; None: not all its versions know it.
    """

    name: str
    text: str
    becomes: Good | str
    elsewhere: bool | None


def _flag(text: str, line: str, *, good: bool, elsewhere: bool | None = True) -> Case:
    return Case(
        f"http2 {text!r}",
        f"http_server_config:\n  http2: {text}\n",
        Good() if good else line,
        elsewhere,
    )


_HTTP2 = "line 2: http2 cannot be honoured: HTTP/1.1 is served; say false"
_NO_FLAG = "line 2: http2 is true or false"
_CERT = "line 2: cert_file is missing; both a certificate and its key are needed"
_LIMIT = "interval cannot be honoured: requests at the same time share one page, which is the limit; say 0"
_CIPHERS = (
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,"
    " TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,"
    " TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
)

CASES = (
    Case("nothing", "", Good(), True),
    Case("comments", "# nothing\n---\n", Good(), True),
    Case("null", "~", Good(), True),
    Case("sections of nothing", "tls_server_config:\nbasic_auth_users: ~\n", Good(), True),
    Case("no users", "basic_auth_users: {}\n", Good(), True),
    Case("no TLS", "tls_server_config: {}\n", Good(), True),
    Case("no limit", "rate_limit: {}\n", Good(), None),
    Case("no headers", "http_server_config:\n  headers: {}\n", Good(), True),
    Case(
        "all in one line",
        f'{{basic_auth_users: {{prom: "{HASH}"}}, http_server_config: {{http2: off}}}}',
        Good(users=("prom",)),
        True,
    ),
    Case(
        "users",
        f"basic_auth_users:\n  prom: {HASH}\n  123: {OLD}\n  y: {HASH}\n  'na me': |-\n    {HASH}\n",
        Good(users=("prom", "123", "y", "na me")),
        True,
    ),
    Case(
        "an anchor",
        f"basic_auth_users:\n  prom: &one {HASH}\n  other: *one\n",
        Good(users=("prom", "other")),
        True,
    ),
    Case("a BOM", f"\ufeffbasic_auth_users:\n  prom: {HASH}\n", Good(users=("prom",)), True),
    Case("DOS", f"basic_auth_users:\r\n  prom: {HASH}\r\n", Good(users=("prom",)), True),
    Case("no password", "\nbasic_auth_users:\n  a:\n", "line 3: a has no bcrypt hash; make one by: htpasswd -nBC 10 USER", False),
    Case("a password", "basic_auth_users:\n  a: secret\n", "line 2: a has no bcrypt hash; make one by: htpasswd -nBC 10 USER", False),
    Case("a hash on the next line", "basic_auth_users:\n  a:\n    secret\n", "line 2: a has no bcrypt hash; make one by: htpasswd -nBC 10 USER", False),
    Case("a dear hash", f"basic_auth_users:\n  a: {DEAR}\n", "line 2: a has a hash of cost 15, with which each wrong password would take seconds; the most is 14", True),
    Case("a cheap hash", f"basic_auth_users:\n  a: {HASH.replace('$04$', '$03$')}\n", "line 2: a has a hash of cost 03; bcrypt's least is 04", False),
    Case("a user twice", f"basic_auth_users:\n  a: {HASH}\n  a: {OLD}\n", "line 3: a is there twice", False),
    Case("users as a list", f"basic_auth_users:\n- a: {HASH}\n", "line 1: basic_auth_users has keys and values", False),
    Case("a user of two lines", 'basic_auth_users:\n  "a\\nb": x\n', "line 2: 'a\\nb' has no bcrypt hash; make one by: htpasswd -nBC 10 USER", False),
    *(_flag(text, "", good=True) for text in ("false", "False", "FALSE", "no", "No", "n", "N", "off", "OFF", "~", "!!bool off")),
    *(_flag(text, _HTTP2, good=False) for text in ("true", "True", "YES", "y", "On")),
    *(_flag(text, _NO_FLAG, good=False, elsewhere=False) for text in ("'false'", "0", "fALSE", "never", "[]", "!!str no")),
    Case(
        "headers",
        "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 0\n"
        "    X-Content-Type-Options: nosniff\n    Strict-Transport-Security: 'max-age=31536000; includeSubDomains'\n",
        Good(
            headers={
                "X-Frame-Options": "deny",
                "X-XSS-Protection": "0",
                "X-Content-Type-Options": "nosniff",
                "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
            }
        ),
        True,
    ),
    Case("a blank header", "http_server_config:\n  headers:\n    Content-Security-Policy: ''\n", Good(), True),
    Case("another header", "http_server_config:\n  headers:\n    Server: x\n", "line 3: no Server in headers; there are Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection", False),
    Case("a header's other value", "http_server_config:\n  headers:\n    X-Frame-Options: some\n", "line 3: X-Frame-Options is deny or sameorigin", False),
    Case("a header of two lines", 'http_server_config:\n  headers:\n    X-XSS-Protection: "1\\r\\nx: y"\n', "line 3: X-XSS-Protection has more than printable ASCII, which is all that a header may have", True),
    Case("an unknown section", "\nbasic_auth: {}\n", "line 2: no basic_auth in a web configuration; there are tls_server_config, http_server_config, basic_auth_users, rate_limit", False),
    Case("a section twice", "rate_limit: {}\nrate_limit: {}\n", "line 2: rate_limit is there twice", False),
    Case("a list", "[]", "line 1: a web configuration has keys and values", False),
    Case("merged", f"basic_auth_users:\n  <<: {{a: {OLD}}}\n", "line 2: << cannot be honoured: say the keys themselves, once each", True),
    Case("a limit that is off", "rate_limit:\n  interval: 0s\n  burst: 3\n", Good(), None),
    Case("a limit of 0", "rate_limit: {interval: 0, burst: 0}\n", Good(), None),
    Case("a limit", "rate_limit:\n  burst: 3\n  interval: 1s\n", f"line 3: {_LIMIT}", None),
    Case("a limit of 0.5s", "rate_limit: {interval: 0.5s}\n", f"line 1: {_LIMIT}", None),
    Case("a burst", "rate_limit: {burst: many}\n", "line 1: burst is a whole number", None),
    Case("TLS", FILES, Good({"verify": ssl.CERT_NONE, "ciphers": "", "own_order": True, "least": ssl.TLSVersion.TLSv1_2, "most": ssl.TLSVersion.TLSv1_3}), True),
    Case(
        "TLS with all that there is",
        f"{FILES}{VERIFIED}  client_ca_file: clients.pem\n  min_version: TLS12\n  max_version: TLS13\n"
        f"  prefer_server_cipher_suites: False\n  cipher_suites:\n  - {AES128}\n"
        "  - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n  - TLS_AES_128_GCM_SHA256\n",
        Good({"verify": ssl.CERT_REQUIRED, "ciphers": "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256", "own_order": False}),
        True,
    ),
    Case(
        "TLS with nothing in it",
        f"{FILES}  client_auth_type: ''\n  client_ca_file: ''\n  min_version:\n  cipher_suites: []\n  cert: ''\n"
        "  curve_preferences: []\n  client_allowed_sans:\n",
        Good({"verify": ssl.CERT_NONE, "client_ca": None, "ciphers": ""}),
        None,
    ),
    Case("clients without a certificate", f"{FILES}  client_auth_type: NoClientCert\n", Good({"verify": ssl.CERT_NONE}), True),
    Case("clients' certificates if given", f"{FILES}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: clients.pem\n", Good({"verify": ssl.CERT_OPTIONAL}), True),
    Case("TLS 1.3", f"{FILES}  min_version: TLS13\n  cipher_suites: [{AES128}]\n", Good({"least": ssl.TLSVersion.TLSv1_3}), True),
    Case("an empty cert_file", "tls_server_config:\n  cert_file: ''\n  key_file: key.pem\n", _CERT, False),
    Case("a null cert_file", "tls_server_config:\n  cert_file:\n  key_file: key.pem\n", _CERT, False),
    Case("no cert_file", "\ntls_server_config:\n\n  key_file: key.pem\n", _CERT, False),
    Case("no key_file", "tls_server_config:\n  cert_file: cert.pem\n", "line 1: key_file is missing; both a certificate and its key are needed", False),
    Case("no files", "tls_server_config:\n  min_version: TLS13\n", "line 1: cert_file is missing; both a certificate and its key are needed", True),
    Case("a file that is not there", "tls_server_config:\n  key_file: key.pem\n  cert_file: x.pem\n", "line 3: cannot read FOLDER/x.pem: No such file or directory", False),
    Case("a folder", "tls_server_config: {key_file: key.pem, cert_file: .}\n", "line 1: cannot read FOLDER: Is a directory", False),
    Case("a file's name with a NUL", 'tls_server_config:\n  cert_file: "a\\0b"\n  key_file: k\n', "line 2: cert_file has a character that no text has", False),
    Case("PEM", f"tls_server_config:\n  cert: {PEM}  key_file: key.pem\n", "line 2: cert cannot be honoured: a certificate is read from a file, which is looked at again; say cert_file", None),
    Case("a key as PEM", f"{FILES}  key: {PEM}", "line 4: key cannot be honoured: a key is read from a file, which others may not read; say key_file", None),
    Case("an authority as PEM", f"{FILES}  client_ca: {PEM}", "line 4: client_ca cannot be honoured: certificates are read from a file; say client_ca_file", None),
    Case("allowed names", f"{FILES}{VERIFIED}  client_ca_file: clients.pem\n  client_allowed_sans:\n  - prom\n", "line 6: client_allowed_sans cannot be honoured: Python's ssl lets in every client that client_ca_file has signed; give these clients an authority of their own", None),
    Case("no allowed names", f"{FILES}{VERIFIED}  client_ca_file: clients.pem\n  client_allowed_sans: []\n", "line 6: client_allowed_sans cannot be honoured: Python's ssl lets in every client that client_ca_file has signed; give these clients an authority of their own", None),
    Case("curves", f"{FILES}  curve_preferences: [X25519]\n", "line 4: curve_preferences cannot be honoured: Python's ssl takes no list of curves, and OpenSSL's own is good", True),
    Case("any certificate", f"{FILES}  client_auth_type: RequireAnyClientCert\n", "line 4: client_auth_type RequireAnyClientCert cannot be honoured: a certificate that is asked for is verified too; say RequireAndVerifyClientCert", True),
    Case("any certificate, as it was", f"{FILES}  client_auth_type: RequireClientCert\n", "line 4: client_auth_type RequireClientCert cannot be honoured: a certificate that is asked for is verified too; say RequireAndVerifyClientCert", True),
    Case("another policy", f"{FILES}  client_auth_type: Maybe\n", "line 4: client_auth_type is NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert, and not Maybe", False),
    Case("a policy without an authority", f"{FILES}{VERIFIED}", "line 4: client_auth_type needs client_ca_file", True),
    Case("an authority without a policy", f"{FILES}  client_ca_file: clients.pem\n", "line 4: client_ca_file is without effect; say client_auth_type: RequireAndVerifyClientCert", False),
    Case("TLS 1.1", f"{FILES}  min_version: TLS11\n", "line 4: min_version TLS11 cannot be honoured: it is not safe (RFC 8996); say TLS12 or TLS13", True),
    Case("another version", f"{FILES}  max_version: 1.3\n", "line 4: max_version is TLS12, TLS13, and not 1.3", False),
    Case("versions the wrong way round", f"{FILES}  max_version: TLS12\n  min_version: TLS13\n", "line 4: max_version is below min_version", True),
    Case("a cipher suite", f"{FILES}  cipher_suites: {AES128}\n", "line 4: cipher_suites is a list", False),
    Case("an old cipher suite", f"{FILES}  cipher_suites:\n  - {AES128}\n  - {CBC}\n", f"line 6: cipher_suites {CBC} is none with forward secrecy and authenticated encryption; there are {_CIPHERS}", True),
    Case("no cipher suite of TLS 1.2", f"{FILES}  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", "line 4: cipher_suites has none of TLS 1.2; where that is meant: min_version: TLS13", True),
    Case("an unknown key", f"{FILES}  ca_file: x\n", "line 4: no ca_file in tls_server_config; there are cert_file, key_file, client_auth_type, client_ca_file, min_version, max_version, cipher_suites, prefer_server_cipher_suites, cert, key, client_ca, client_allowed_sans, curve_preferences", False),
    Case("a preference", f"{FILES}  prefer_server_cipher_suites: maybe\n", "line 4: prefer_server_cipher_suites is true or false", False),
    Case("no YAML", "a: 1\n b: 2", "line 2: no YAML: mapping values are not allowed here", False),
    Case("cut short", "a: [1", "line 1: no YAML: expected ',' or ']', but got '<stream end>'", False),
    Case("an unknown anchor", "a: *b", "line 1: no YAML: found undefined alias 'b'", False),
    Case("two documents", "http_server_config:\n---\nb: 2\n", "line 2: no YAML: but found another document", True),
    Case("a list as a key", "? [a]\n: 1\n", "line 1: a key is a text", False),
)  # fmt: skip
