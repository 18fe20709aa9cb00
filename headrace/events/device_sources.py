"""Which sources and partition keys a device may use. Pure."""

from __future__ import annotations

from typing import NamedTuple

from headrace.events.envelope import EnvelopeError, ParsedEvent

ANY = "any"
DEVICE = "{device}"
PATTERN = r"^(any|[!-z|~]{0,200}\{device\}[!-z|~]{0,200}/)?$"
DEFAULT = f"/devices/{DEVICE}/"


class DeviceSources(NamedTuple):
    """A source of a device is `before`, its name and `after`, or begins so; without the last `/` it is allowed too.

    `after` ends in `/`, and a name has none. So no source of a device is a source of another, whatever their names.
    """

    before: str
    after: str

    @classmethod
    def of(cls, template: str) -> DeviceSources | None:
        """From a prefix with `{device}`, which ends in `/`; None for `any`."""
        if template == ANY:
            return None
        before, _, after = template.partition(DEVICE)
        return cls(before, after)

    def errors(self, event: ParsedEvent, device: str) -> list[EnvelopeError]:
        """Why the device may not send the event, which would have the id or delay the events of another; else empty."""
        errors: list[EnvelopeError] = []
        own = f"{self.before}{device}{self.after}"
        if event.source != own[:-1] and not event.source.startswith(own):
            shape = f"{self.before}{DEVICE}{self.after}"
            detail = f"must be {shape[:-1]} or begin with {shape}, with the device of the topic"
            errors.append(EnvelopeError("/source", "source_mismatch", detail))
        # The subject is the device's too, or the event is refused for that.
        if event.partition_key not in {device, event.subject} and not event.partition_key.startswith(f"{device}/"):
            detail = "must be the device of the topic, or begin with it and a slash, or be absent"
            errors.append(EnvelopeError("/partitionkey", "partitionkey_mismatch", detail))
        return errors
