"""Scalable vector graphics by a few small functions: elements, and scales from figures to places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def element(name: str, *inside: str, **attributes: object) -> str:
    """Returns an element; an underscore in an attribute's name stands for a hyphen, one at its end for nothing.

    Example:
        >>> element("text", "a &lt; b", x=1.5, class_="axis")
        '<text x="1.5" class="axis">a &lt; b</text>'
    """
    given = "".join(f' {_name(key)}="{escape(_value(value))}"' for key, value in attributes.items())
    return f"<{name}{given}>{''.join(inside)}</{name}>" if inside else f"<{name}{given}/>"


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def words(x: float, y: float, text: str, kind: str = "axis", anchor: str = "start") -> str:
    """Returns text at a place."""
    return element("text", escape(text), x=x, y=y, class_=kind, text_anchor=anchor)


def path(points: Sequence[tuple[float, float]], **attributes: object) -> str:
    """Returns a line through points."""
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), fill="none", **attributes)


@dataclass(frozen=True, slots=True)
class Scale:
    """From figures to places along an axis."""

    least: float
    """The figure at the beginning."""
    most: float
    """The figure at the end."""
    start: float
    """The place of the least."""
    end: float
    """The place of the most."""
    is_log: bool = False
    """Whether equal ratios are equally far apart."""

    def __call__(self, value: float) -> float:
        """Returns the place of a figure; one beyond the ends is put at the end."""
        if self.is_log:
            part = math.log(max(value, 1e-300) / self.least) / math.log(self.most / self.least)
        else:
            part = (value - self.least) / ((self.most - self.least) or 1)
        return self.start + min(1.0, max(0.0, part)) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Returns round figures along the axis: powers of ten, or about five."""
        if self.is_log:
            first, last = math.ceil(math.log10(self.least) - 1e-9), math.floor(math.log10(self.most) + 1e-9)
            return [10.0**k for k in range(first, last + 1)]
        step = _round_step((self.most - self.least) / 5)
        first = math.ceil(self.least / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.most / step + 1e-9) + 1)]


def _round_step(rough: float) -> float:
    """The next of 1, 2, 5, 10, 20 and so on."""
    unit = 10.0 ** math.floor(math.log10(rough or 1))
    return next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * (1 - 1e-9))


def drawing(width: float, height: float, title: str, *inside: str) -> str:
    """Returns a picture that is as wide as the page lets it be."""
    return element(
        "svg", element("title", escape(title)), *inside,
        viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=title,
    )  # fmt: skip
