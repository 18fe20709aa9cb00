"""Utilities that every part of a process uses: waiting, the throttled log, fault points, metrics, addresses."""
