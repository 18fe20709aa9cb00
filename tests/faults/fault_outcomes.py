"""What a fault test found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcomes:
    """What is told of a fault in docs/reliability.md."""

    test: str
    fault: str
    seed: int
    events: int = 0
    in_flight: int = 0
    bit: dict[str, int] = field(default_factory=dict)
    """How often it was injected, by what it was injected by."""
    resumed_seconds: dict[str, float] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    """Findings of every other kind."""
    longest_pause_seconds: float = 0
    copies: int = 0
    """Records beyond one for each event: what at-least-once means."""
