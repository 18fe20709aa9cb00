"""Tests of worker processes, from outside."""
