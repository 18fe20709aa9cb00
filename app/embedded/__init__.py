"""The embedded servers, for a machine that has none."""
