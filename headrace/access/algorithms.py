"""Algorithms that tokens may be signed with. All are asymmetric: Headrace never holds a secret that could sign."""

from __future__ import annotations

from collections.abc import Mapping

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")

FITTING: Mapping[tuple[str, str | None], frozenset[str]] = {
    ("RSA", None): frozenset({"RS256", "PS256"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
"""The algorithms for a type of key (`kty`) and its curve (`crv`)."""
