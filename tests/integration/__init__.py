"""Tests on real servers, in this process."""
