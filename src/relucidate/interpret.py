"""What a network does, globally and for one case: each function returns a result that `relucidate.plot` draws."""

from __future__ import annotations

__all__: list[str] = []
