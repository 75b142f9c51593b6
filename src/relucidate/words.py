"""Numbers and names as text that is safe to show: rounded, truncated, without characters that reorder what follows."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"  # in place of a number that does not exist
_HOVER = 300  # characters of a long name that appear on hover
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # part of the spelling of several languages


@dataclass(frozen=True)
class Name:
    """A name given by a user, ready to be shown.

    Parameters
    ----------
    short : cut in the middle to a length that fits.
    full : what appears on hover: the whole name, or its beginning and its length; "" if `short` is the whole.
    """

    short: str
    full: str = ""

    def __str__(self) -> str:
        return self.short


def name(text: object, limit: int = 28) -> Name:
    """Return `text` as a `Name` of at most `limit` characters."""
    raw = str(text)
    whole = visible(raw[: 2 * _HOVER]) if len(raw) > 2 * _HOVER else visible(raw)
    cut = len(raw) > 2 * _HOVER
    if not cut and len(whole) <= limit:
        return Name(whole or "(no name)")
    tail = max(limit // 3, 1)
    end = visible(raw[-2 * limit :])[-tail:]
    short = whole[: max(limit - tail - 1, 1)] + "…" + end
    full = whole[:_HOVER] + (f"… ({len(raw):,} characters)" if cut or len(whole) > _HOVER else "")
    return Name(short, full)


def visible(text: str) -> str:
    """Return `text` with control, format and unassigned characters written out, as in ``⟨U+202E⟩``."""
    return "".join(c if _is_plain(c) else f"⟨U+{ord(c):04X}⟩" for c in text)


def _is_plain(c: str) -> bool:
    kind = unicodedata.category(c)
    return c in _JOINERS or not (kind[0] == "C" or kind in ("Zl", "Zp"))


def rule(text: str) -> str:
    """Return a rule such as ``x <= -1`` as it is printed: ≤ and the minus sign."""
    return re.sub(r"(?<= )-(?=\d)", MINUS, text.replace(" <= ", " ≤ "))


def finite(value: Any) -> float | None:
    """Return a float, or None for what is not a finite number."""
    number = float(value)
    return number if math.isfinite(number) else None


def rounded(value: Any, digits: int = 6) -> float | int | None:
    """Return a number with `digits` significant digits, an int where that is shorter; None if it is not finite."""
    number = finite(value)
    if number is None:
        return None
    short = float(f"{number:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def count(n: int) -> str:
    """Return a whole number, thousands separated."""
    return f"{n:,}"


def plural(n: int, noun: str) -> str:
    """Return "1 region", "2 regions"."""
    return f"{n:,} {noun}" + ("s" if n != 1 else "")


def percent(share: float | None, decimals: int = 1) -> str:
    """Return a share as percent; small ones as "<0.1 %", never as 0."""
    if share is None or not math.isfinite(share):
        return NONE
    least = 10.0**-decimals
    value = 100 * share
    if 0 < value < least:
        return f"<{least:.{decimals}f} %"
    if 100 - least < value < 100:
        return f">{100 - least:.{decimals}f} %"
    return f"{value:.{0 if value in (0, 100) else decimals}f} %"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with `digits` significant digits."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    size = abs(value)
    if not 1e-4 <= size < 1e7:
        return power(value, digits)
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def fixed(value: float | None, decimals: int) -> str:
    """Return a number with a fixed number of decimals, or in powers of ten where `decimals` is negative."""
    if value is None or not math.isfinite(value):
        return NONE
    if decimals < 0:
        return power(value)
    text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.replace("-", "")


def power(value: float, digits: int = 2) -> str:
    """Return a number in powers of ten, as in 3.1×10⁻¹⁵; 0 as 0."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return mantissa.replace("-", MINUS) + "×10" + str(int(exponent)).translate(_SUPERSCRIPTS)


def decimals_for(values: Any) -> int:
    """Return how many decimals a column needs for three significant digits of a typical value; -1: powers of ten."""
    sizes = sorted(abs(v) for v in values if v is not None and math.isfinite(v) and v)
    if not sizes:
        return 2
    typical = sizes[(3 * (len(sizes) - 1)) // 4]
    if not 1e-5 <= typical < 1e7:
        return -1
    return min(max(0, 2 - math.floor(math.log10(typical))), 7)
