"""Headrace's public names, for modules that define projections. Everything else is private and may change."""

from headrace.old_shapes import OldShape
from headrace.projection import Event, FedBy, Field, Projection

__all__ = ["Event", "FedBy", "Field", "OldShape", "Projection"]
