"""Text that is shown to people."""

from __future__ import annotations

import unicodedata

_KEPT = "\n\t"
_HIDDEN = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, halves of a character (bytes of a file's name that are no text), and line breaks."""
_TURNS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What turns the direction of the text that follows it."""


def printable(text: str) -> str:
    r"""Returns text in which nothing moves the cursor, colours the terminal or hides a part of a name.

    Line breaks and tabulators stay: messages have several lines.

    Example:
        >>> printable("dem\x1b[31m.tif, größer 🏔")
        'dem\\x1b[31m.tif, größer 🏔'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character in _KEPT or (unicodedata.category(character) not in _HIDDEN and character not in _TURNS):
        return character
    return character.encode("unicode_escape").decode("ascii")
