"""SVG that fits any width: marks are stretched with the page, texts are not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

# The plane that marks are drawn on, both ways; positions and lengths are in these units.
PLANE = 1000.0
_AXIS_PX = 20  # below the plane, for the labels of the x axis


def tag(name: str, *inside: str, **attributes: object) -> Markup:
    """An element. Attributes in Python's spelling: class_, stroke_width; all is escaped.

    >>> print(tag("text", "<&>", text_anchor="end", class_='a"'))
    <text text-anchor="end" class="a&#34;">&lt;&amp;&gt;</text>
    """
    named = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    words = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in named)
    content = Markup("").join(escape(each) for each in inside)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), words, content)


@dataclass(frozen=True)
class Canvas:
    """Marks on a plane of PLANE units each way, and texts around it.

    height_px: of the plane; gutter: units to its left, for the labels of the y axis.
    """

    height_px: int
    gutter: float = 0.0

    def figure(self, label: str, marks: Iterable[str], texts: Iterable[str]) -> Markup:
        """The picture. label: what there is to see, for those who cannot."""
        plane = tag(
            "svg",
            *marks,
            y=0,
            width="100%",
            height=self.height_px,
            viewBox=f"{-self.gutter:.0f} 0 {PLANE + self.gutter:.0f} {PLANE:.0f}",
            preserveAspectRatio="none",
        )
        return tag(
            "svg",
            plane,
            *texts,
            class_="chart",
            width="100%",
            height=self.height_px + _AXIS_PX,
            role="img",
            aria_label=label,
        )

    def x_label(self, text: str, x: float) -> Markup:
        """A text below the plane at x units; at the edges it stays within."""
        anchor = "start" if x < PLANE * 0.04 else "end" if x > PLANE * 0.92 else "middle"
        at = 100 * (x + self.gutter) / (PLANE + self.gutter)
        return tag("text", text, x=f"{at:.2f}%", y=self.height_px + 14, text_anchor=anchor)

    def y_label(self, text: str, y: float) -> Markup:
        """A text in the gutter, at y units (0 is the top)."""
        at = 100 * self.gutter / (PLANE + self.gutter) - 1
        lowered = min(max(y / PLANE * self.height_px + 4, 10.0), float(self.height_px))
        return tag("text", text, x=f"{at:.2f}%", y=f"{lowered:.1f}", text_anchor="end")


def bar(x: float, width: float, top: float, bottom: float, css: str, title: str = "") -> Markup:
    """A bar between two heights; title: what it says when pointed at."""
    inside = [tag("title", title)] if title else []
    return tag(
        "rect",
        *inside,
        x=_short(x),
        y=_short(top),
        width=_short(max(width, 0.5)),
        height=_short(max(bottom - top, 0.0)),
        class_=css,
    )


def path(points: Iterable[tuple[float, float]], css: str) -> Markup:
    """A line through points; a single one is a dot."""
    steps = [f"{_short(x)} {_short(y)}" for x, y in points]
    if len(steps) == 1:
        steps *= 2
        css += " dot"
    return tag("path", d="M" + "L".join(steps), class_=css) if steps else Markup("")


def strokes(lines: Iterable[tuple[float, float, float, float]], css: str) -> Markup:
    """Many lines (x, y, x, y), as one element."""
    drawn = "".join(f"M{_short(a)} {_short(b)}L{_short(c)} {_short(d)}" for a, b, c, d in lines)
    return tag("path", d=drawn, class_=css) if drawn else Markup("")


def horizontal(y: float, css: str = "grid") -> Markup:
    """A line across the plane."""
    return path([(0, y), (PLANE, y)], css)


def vertical(x: float, css: str = "grid") -> Markup:
    """A line from top to bottom."""
    return path([(x, 0), (x, PLANE)], css)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
