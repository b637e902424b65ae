"""TLS as an ssl.SSLContext, and certificates that are read again when their files change."""

from __future__ import annotations

import contextlib
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from nvscope.exporter.web.settings.yamlfile import shown
from nvscope.probes.errors import InputError, LackError

log = logging.getLogger(__name__)

# OpenSSL's x509_vfy.h: X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED.
_NOT_YET, _EXPIRED = 9, 10
# Flights of a handshake, in both directions; TLS 1.2 has four.
_FLIGHTS = 4
_PATH_MAX = 4096  # bytes, include/uapi/linux/limits.h


@dataclass(frozen=True)
class File:
    """A file, and where it is named."""

    path: Path
    where: str

    def wrong(self, text: str) -> InputError:
        """The error to raise for it."""
        return InputError(f"{self.where}: {self} {text}")

    def __str__(self) -> str:
        return shown(str(self.path), _PATH_MAX)


@dataclass(frozen=True)
class Tls:
    """ciphers: OpenSSL's list for TLS 1.2; empty: its defaults. client_ca: who signs the clients'
    certificates, where they are asked for one.
    """

    cert: File
    key: File
    client_ca: File | None = None
    verify: ssl.VerifyMode = ssl.CERT_NONE
    least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: str = ""
    own_order: bool = True

    @property
    def files(self) -> tuple[File, ...]:
        """All that is read."""
        return (self.cert, self.key, *((self.client_ca,) if self.client_ca else ()))


def context(tls: Tls) -> ssl.SSLContext:
    """Return a context to serve with.

    Raises LackError (a file that cannot be read), InputError (one that will not do: not PEM,
    another certificate's key, expired).
    """
    _require_readable(tls)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version, made.maximum_version = tls.least, tls.most
    made.set_alpn_protocols(["http/1.1"])
    made.options |= ssl.OP_NO_RENEGOTIATION
    if not tls.own_order:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.ciphers:
        made.set_ciphers(tls.ciphers)
    _load(made, tls)
    _require_good(made, tls.cert)
    if tls.client_ca:
        _load_authorities(made, tls.client_ca)
    made.verify_mode = tls.verify
    return made


def _require_readable(tls: Tls) -> None:
    for file in tls.files:
        try:
            content = file.path.read_bytes()
        except OSError as error:
            raise LackError(f"{file.where}: cannot read {file}: {error.strerror}") from None
        if file is tls.key and b"ENCRYPTED" in content:  # OpenSSL would ask at the terminal
            raise file.wrong("is encrypted: nobody is here to type its pass phrase")


def _load(made: ssl.SSLContext, tls: Tls) -> None:
    _load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls.cert)
    try:
        made.load_cert_chain(tls.cert.path, tls.key.path)
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise tls.key.wrong(f"is not the key of {tls.cert}") from None
        said = f" ({error.reason.lower().replace('_', ' ')})" if error.reason else ""
        raise tls.key.wrong(f"and {tls.cert} will not do: no key in PEM{said}") from None


def _load_authorities(made: ssl.SSLContext, file: File) -> None:
    try:
        made.load_verify_locations(file.path)
    except ssl.SSLError:
        raise file.wrong("has no certificate in PEM") from None


def _require_good(made: ssl.SSLContext, cert: File) -> None:
    """Shake hands with ourselves: what ssl tells of a certificate, it tells a peer only."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cert.path)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trusted for itself
    try:
        _shake_hands(made, client)
    except ssl.SSLCertVerificationError as error:
        dated = {_NOT_YET: "is not valid yet", _EXPIRED: "has expired"}
        raise cert.wrong(
            dated.get(error.verify_code, f"will not do: {error.verify_message}")
        ) from None
    except ssl.SSLError as error:
        raise cert.wrong(f"will not do: {error.reason}; see cipher_suites and versions") from None


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True))
    for _ in range(_FLIGHTS):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()


class Contexts:
    """The context in force. Not for several threads."""

    def __init__(self, tls: Tls) -> None:
        """Raises as context."""
        self._tls = tls
        self._seen = self._stamp()
        self._context = context(tls)

    def current(self) -> ssl.SSLContext:
        """Return the context for a new connection; invalid files are logged, once."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            self._read_again()
        return self._context

    def _read_again(self) -> None:
        try:
            self._context = context(self._tls)
        except (InputError, LackError) as error:
            log.error("%s; the certificate stays as it was", error.message)
        else:
            log.warning("read %s again", self._tls.cert.path)

    def _stamp(self) -> tuple[object, ...]:
        """Another one when a file is another."""
        return tuple(_stamp(file.path) for file in self._tls.files)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
