"""Headers that a web configuration adds to each answer: those that exporter-toolkit knows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# Header -> the values that it may have; none: any. As exporter-toolkit's web/tls_config.go.
KNOWN: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_PRINTABLE = re.compile(r"[ -~]*")  # no line's end: no second header


def require_value(name: str, text: str) -> str:
    """Return a value that a known header may have. Raises ValueError with what is wrong."""
    allowed = KNOWN[name]
    if allowed and text.lower() not in allowed:
        raise ValueError(f"{text!r}; it is {' or '.join(allowed)}")
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("it has more than printable ASCII")
    return text


def added(app: WSGIApplication, headers: Mapping[str, str]) -> WSGIApplication:
    """Return the application, whose answers have these headers too."""
    more = [(name, text) for name, text in headers.items() if text]

    def outer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, given: list[tuple[str, str]], *failed: Any) -> Any:
            return start_response(status, [*given, *more], *failed)

        return app(environ, start)

    return outer
