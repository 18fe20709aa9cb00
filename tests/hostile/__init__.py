"""Hostile input, and what sends it to a server."""
