"""Headers that a web configuration adds to each answer: those that exporter-toolkit knows."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Header -> the values that it may have; none: any. As exporter-toolkit's web/handler.go.
KNOWN: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_PRINTABLE = re.compile(r"[ -~]*")  # no line's end: no second header


def problem(name: str, text: str) -> str:
    """What is wrong with a known header's value, or "": a blank one is not sent.

    >>> problem("X-Frame-Options", "some"), problem("X-Frame-Options", "deny")
    ('is deny or sameorigin', '')
    """
    if not _PRINTABLE.fullmatch(text):
        return "has more than printable ASCII, which is all that a header may have"
    if text and KNOWN[name] and text.lower() not in KNOWN[name]:
        return f"is {' or '.join(KNOWN[name])}"
    return ""
