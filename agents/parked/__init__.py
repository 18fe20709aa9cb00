"""Retrying parked events."""
