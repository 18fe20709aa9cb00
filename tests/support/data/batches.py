"""A batch as the door reads it, element by element."""

from __future__ import annotations

from headrace.events.envelope import InvalidEnvelope, Limits, ParsedEvent, elements, parse_element


def read_batch(body: bytes, limits: Limits, received_at: str) -> list[ParsedEvent | InvalidEnvelope]:
    """The events of a JSON array, or the errors of each. Raises InvalidEnvelope as `elements`."""
    return [parse_element(bytes(element), limits, received_at) for element in elements(body, limits)]
