"""An issuer of tokens: keys of each kind, its JWK set, and tokens that are right or wrong."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import AllowedPrivateKeys

ISSUER = "https://issuer.example/realm"
AUDIENCE = "headrace"
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")

Json = dict[str, Any]


class FromNow(NamedTuple):
    """A time, when a token is made: a test may run long after it was collected."""

    seconds: float


@cache
def private_key(algorithm: str, number: int = 0) -> AllowedPrivateKeys:
    """A key for an algorithm, of a usual size; another for each number. Made once in a process."""
    assert number >= 0
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65_537, 2_048)


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """An RSA key of any size."""
    return rsa.generate_private_key(65_537, bits)


def jwk(algorithm: str, key: AllowedPrivateKeys, kid: str | None = None, *, private: bool = False) -> Json:
    """A key as a JWK, without `alg`; public unless `private`."""
    shown: Any = key if private else key.public_key()
    made: Json = dict(jwt.PyJWS().get_algorithm_by_name(algorithm).to_jwk(shown, as_dict=True))
    made.pop("key_ops", None)
    return made | ({} if kid is None else {"kid": kid})


def key_set(*keys: Json) -> bytes:
    """A JWK set."""
    return json.dumps({"keys": list(keys)}).encode()


def full_set() -> bytes:
    """A key of each kind; the `kid` is the algorithm."""
    return key_set(*(jwk(one, private_key(one), one) | {"use": "sig", "alg": one} for one in ALGORITHMS))


def claims(**changes: Any) -> Json:
    """Valid claims with changes; None removes a claim. They are valid for longer than any run of tests."""
    now = int(time.time())
    valid = {"iss": ISSUER, "aud": AUDIENCE, "sub": "device-1", "exp": now + 86_400, "iat": now, "scope": "write read"}
    given = {name: now + one.seconds if isinstance(one, FromNow) else one for name, one in (valid | changes).items()}
    return {name: value for name, value in given.items() if value is not None}


def token(algorithm: str = "ES256", header: Mapping[str, Any] | None = None, **changes: Any) -> str:
    """A signed token; `header` adds to and replaces members of the header, of which None removes."""
    members = {"typ": "JWT", "alg": algorithm, "kid": algorithm} | dict(header or {})
    shown = {name: value for name, value in members.items() if value is not None}
    return signed(json.dumps(shown).encode(), json.dumps(claims(**changes)).encode(), algorithm)


def signed(header: bytes, payload: bytes, algorithm: str = "ES256", key: AllowedPrivateKeys | None = None) -> str:
    """A token of any bytes, with a signature that is right for them."""
    text = f"{encoded(header)}.{encoded(payload)}"
    signer: Any = key or private_key(algorithm)
    return f"{text}.{encoded(jwt.PyJWS().get_algorithm_by_name(algorithm).sign(text.encode(), signer))}"


def with_payload(payload: str, algorithm: str = "ES256") -> str:
    """A token with a signed payload of any text."""
    header = json.dumps({"alg": algorithm, "kid": algorithm}).encode()
    return signed(header, payload.encode("utf-8", "surrogatepass"), algorithm)


def encoded(content: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
