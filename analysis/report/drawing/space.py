"""The IPA space as a picture: canonical IPAs to the right, nested IPAs upwards."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from nvscope.analysis.report.drawing.axes import Islands
from nvscope.analysis.report.drawing.svg import PLANE, Canvas, bar, horizontal, strokes, vertical
from nvscope.analysis.report.measures.picture import MmuPicture, Picture, Segment
from nvscope.analysis.units import number, size

_CANVAS = Canvas(height_px=260, gutter=300)
MAX_DRAWN = 6  # shadow MMUs of one VM
_Line = tuple[float, float, float, float]

_LEAST_SPAN = 3.0  # units of the plane: to be seen


@dataclass(frozen=True)
class Drawn:
    """One shadow MMU's picture and what is said below it."""

    mmu: int
    svg: Markup
    said: str


def spaces(picture: Picture) -> list[Drawn]:
    """The MMUs that map most, all on the same two axes."""
    mmus = sorted(picture.mmus, key=lambda mmu: mmu.mapped_bytes, reverse=True)[:MAX_DRAWN]
    every = [segment for mmu in mmus for segment in mmu.segments]
    across = Islands(
        [(s.canonical_ipa, s.canonical_ipa + s.size) for s in every]
        + [span for mmu in mmus for span in mmu.unknown]
    )
    upwards = Islands((s.nested_ipa, s.nested_ipa + s.size) for s in every)
    return [_space(mmu, across, upwards) for mmu in mmus]


def _space(mmu: MmuPicture, across: Islands, upwards: Islands) -> Drawn:
    known: list[_Line] = []
    unknown: list[_Line] = []
    for segment in mmu.segments:
        (unknown if _is_unknown(segment, mmu.unknown) else known).append(
            _line(segment, across, upwards)
        )
    bands = [
        bar(
            across.at(start),
            max(across.at(end) - across.at(start), _LEAST_SPAN),
            0,
            PLANE,
            "unknown band",
            f"UNKNOWN_IPA: {start:#x}, {size(end - start)}",
        )
        for start, end in mmu.unknown
    ]
    marks = [
        *bands,
        *(vertical(x, "gap") for x in across.breaks()),
        *(horizontal(PLANE - y, "gap") for y in upwards.breaks()),
        strokes(known, "known segment"),
        strokes(unknown, "unknown segment"),
        horizontal(PLANE, "base"),
        vertical(0, "base"),
    ]
    texts = [_CANVAS.x_label(text, x) for x, text in across.ticks(PLANE * 0.3)]
    texts += [_CANVAS.y_label(text, PLANE - y) for y, text in upwards.ticks(PLANE * 0.08)]
    said = _said(mmu)
    return Drawn(mmu.mmu, _CANVAS.figure(f"MMU {mmu.mmu:#x}: {said}", marks, texts), said)


def _said(mmu: MmuPicture) -> str:
    said = f"{number(mmu.mappings)} mappings of {size(mmu.mapped_bytes)}"
    if mmu.unknown:
        covered = sum(end - start for start, end in mmu.unknown)
        said += f"; UNKNOWN_IPA: {number(len(mmu.unknown))} spans of {size(covered)}"
    return f"{said}; drawn to {size(mmu.grain)}" if mmu.grain else said


def _line(segment: Segment, across: Islands, upwards: Islands) -> _Line:
    c, n, length = segment.canonical_ipa, segment.nested_ipa, segment.size
    return (
        across.at(c),
        PLANE - upwards.at(n),
        across.at(c + length),
        PLANE - upwards.at(n + length),
    )


def _is_unknown(segment: Segment, spans: list[tuple[int, int]]) -> bool:
    start, end = segment.canonical_ipa, segment.canonical_ipa + segment.size
    return any(s < end and e > start for s, e in spans)
