"""What an event is, what a projection is, and how events are folded. Pure: no I/O. These names are public."""

from headrace.projection import Event, FedBy, Field, Projection

__all__ = ["Event", "FedBy", "Field", "Projection"]
