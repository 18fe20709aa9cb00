"""Headrace's public names, for modules that define projections. Everything else is private and may change."""

from headrace.projection import Event, FedBy, Field, Projection

__all__ = ["Event", "FedBy", "Field", "Projection"]
