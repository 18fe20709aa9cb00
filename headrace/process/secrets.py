"""Keeps secrets out of every text: `redacted` for an address that is shown, `without_secrets` for any other text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, unquote_plus

from headrace.access.key_text import without_keys

HIDDEN = "…"
MIN_CHARACTERS = 4
"""A shorter password is hidden only where its URL is quoted; elsewhere it would blank out parts of words."""
PASSWORD_PARAMETERS = frozenset({"password", "sslpassword"})
# Parameters of an address whose values help to find a mistake and are no secrets.
SHOWN_PARAMETERS = frozenset({"sslmode", "host", "port"})

_ADDRESS = r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,20}:\d{1,5}"
_ADDRESSES = re.compile(f"{_ADDRESS}(?:,{_ADDRESS}){{0,20}}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}", re.IGNORECASE)
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]*\]?|[^\[\]:\s]*)(?P<port>(?::\d{0,5})?\Z)?(?P<rest>.*)", re.DOTALL)
_PATH = re.compile(r"[\w.%~/-]*")

# Of this process: what to replace, and by what; the longest first.
_known: dict[str, str] = {}


def redacted(url: str) -> str:
    """A URL without what may be secret: the user, the password, parameters. It need not be a valid URL.

    A text that is no URL is shown only if it is `host.domain:port[,host.domain:port]`.
    """
    if not url or _ADDRESSES.fullmatch(url):
        return url
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return HIDDEN
    user, at, place = rest.rpartition("@")
    if "?" in user:  # the @ may be part of a password in a parameter
        return f"{scheme}://{HIDDEN}"
    address, question, query = place.partition("?")
    hosts, slash, path = address.partition("/")
    return "".join(
        (
            f"{scheme}://",
            HIDDEN + at if at else "",
            ",".join(map(_host, hosts.split(","))),
            slash,
            path if _PATH.fullmatch(path) else HIDDEN,
            question,
            "&".join(map(_parameter, query.split("&"))) if query else "",
        )
    )


def hide(urls: Iterable[str]) -> None:
    """From now on, `without_secrets` replaces these URLs and their passwords."""
    found: dict[str, str] = {}
    for url in urls:
        found |= {url: redacted(url)} if redacted(url) != url else {}
        for secret in _secrets_in(url):
            found |= dict.fromkeys({secret, repr(secret)[1:-1]}, HIDDEN)
    _add(found)


def hide_values(values: Iterable[str]) -> None:
    """The same for secrets that are no part of a URL. A short secret would blank out parts of words."""
    long = {value for value in values if len(value) >= MIN_CHARACTERS}
    if not _known.keys() >= long:
        _add(dict.fromkeys(long | {repr(value)[1:-1] for value in long}, HIDDEN))


def _add(found: dict[str, str]) -> None:
    """Other threads may read meanwhile, so what they read never changes."""
    global _known  # noqa: PLW0603 - of the process, as the log is
    together = {**_known, **found}
    _known = {text: together[text] for text in sorted(together, key=len, reverse=True)}


def without_secrets(text: str) -> str:
    """The text without the secrets of this process's settings, and without API keys."""
    for secret, shown in _known.items():
        if secret in text:
            text = text.replace(secret, shown)
    return without_keys(text)


def _secrets_in(url: str) -> Iterator[str]:
    """The passwords of a URL, as written and decoded, that can be hidden in any text."""
    _, _, rest = url.partition("://")
    login, _, place = rest.rpartition("@")
    user, _, password = login.partition(":")
    address, _, query = place.partition("?")
    found = [password, unquote(password)]
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if unquote_plus(name) in PASSWORD_PARAMETERS:
            found += [value, unquote_plus(value)]
    # Such a word is in other texts as well, and nobody can tell that it is the password.
    public = {unquote(user), address.rpartition("/")[2], address.partition("/")[0].partition(":")[0]}
    yield from (secret for secret in found if len(secret) >= MIN_CHARACTERS and secret not in public)


def _host(text: str) -> str:
    found = _HOST.fullmatch(text)
    assert found is not None
    return f"{found['name']}{':' + HIDDEN if found['rest'] else found['port']}"


def _parameter(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        return HIDDEN
    return f"{name}={value if name in SHOWN_PARAMETERS else HIDDEN}"
