"""The forms that a page of metrics can have, and the page in each."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from nvscope.exporter.web.message import Answer, Request

# Versions of the text format and of OpenMetrics that are served; a range of another is passed
# over. (prometheus-client takes any text for one, and says that it serves it.)
_VERSIONS = frozenset({"0.0.1", "0.0.4", "1.0.0"})
_VERSION = re.compile(r";\s*version=([^;]*)")
_EOF = b"# EOF\n"  # OpenMetrics' last line
_ALL: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Form:
    """accept: the content type; names: of families or of samples, none: all there are."""

    accept: str
    packed: bool
    names: frozenset[str]


def form(request: Request) -> Form:
    """Return the form in which a request wants the page. There are a few, but for names."""
    ranges = request.headers.get("accept", "").split(",")
    served = ",".join(each for each in ranges if _served(each))
    names = frozenset(request.query.get("name[]", ()))
    packed = not names and gzip_accepted(request.headers.get("accept-encoding", ""))
    return Form(choose_encoder(served)[1], packed, names)


def _served(media_range: str) -> bool:
    version = _VERSION.search(media_range)
    return version is None or version[1].strip() in _VERSIONS


@runtime_checkable
class Worded(Protocol):
    """A family that has its samples in words already."""

    def lines(self) -> str:
        """As all formats have them."""


class Pages:
    """Pages of one reading of the metrics. What several have in common is made once."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families
        self._texts: dict[tuple[str, int, frozenset[str]], bytes] = {}

    def page(self, wanted: Form) -> Answer:
        """Return the page in a form."""
        texts = (self._text(wanted, number) for number in range(len(self._families)))
        body = tuple(text for text in texts if text)
        if wanted.accept.startswith("application/openmetrics-text"):
            body = (*body, _EOF)
        if wanted.packed:
            packed = gzip.compress(b"".join(body))
            return Answer((packed,), wanted.accept, headers=(("Content-Encoding", "gzip"),))
        return Answer(body, wanted.accept)

    def _text(self, wanted: Form, number: int) -> bytes:
        family = self._families[number]
        names = _ALL
        if wanted.names and family.name not in wanted.names:
            names = wanted.names & {sample.name for sample in family.samples}
            if not names:
                return b""
        key = (wanted.accept, number, names)
        if key not in self._texts:
            self._texts[key] = _text(wanted.accept, family, names)
        return self._texts[key]


def _text(accept: str, family: Metric, names: frozenset[str]) -> bytes:
    encode, _ = choose_encoder(accept)
    if names or not isinstance(family, Worded):
        return encode(_Single(family, names)).removesuffix(_EOF)
    bare = Metric(family.name, family.documentation, family.type, family.unit)
    return encode(_Single(bare, _ALL)).removesuffix(_EOF) + family.lines().encode()


class _Single(Collector):
    """A registry of one family, of which samples of some names are wanted, as encoders want it."""

    def __init__(self, family: Metric, names: frozenset[str]) -> None:
        self._family = family
        if names:
            self._family = copy(family)
            self._family.samples = [each for each in family.samples if each.name in names]

    def collect(self) -> Iterable[Metric]:
        return (self._family,)
