"""A network as relucidate's own file, read back bit by bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from relucidate.errors import UnfaithfulError
from relucidate.frameworks import _proved, jsonfile
from relucidate.frameworks.exporting_comparing import TOLERANCE
from relucidate.frameworks.reading import Options, Original, Reading
from relucidate.network import Network, Provenance


def json_file(network: Network, temporary: Path, final: Path) -> None:
    """Write a JSON file, read it back and compare."""
    text = jsonfile.write(network)
    temporary.write_bytes(text.encode())
    reading = jsonfile.read(temporary, Options())
    back = _proved(reading, None)
    if jsonfile.write(back) != text:
        raise UnfaithfulError(f"{final}: what was read back is not bit by bit what was written. It was withheld.")
    named = replace(network, provenance=Provenance(str(final)))
    original = Original("what was read back", back.decision, "decision", TOLERANCE)
    _proved(Reading(named, (original,), reading.probe), None)
