"""How events are sent: what the content type and the headers of a post say about its body."""

from __future__ import annotations

from enum import Enum

from aiohttp import web

from headrace.events.binary_mode import is_json
from web.ingestion.event_headers import has_attributes
from web.server.problems import Problem

STRUCTURED_TYPE = "application/cloudevents+json"
BATCH_TYPE = "application/cloudevents-batch+json"
PLAIN_TYPE = "application/json"
UTF_8 = frozenset({"utf-8", "utf8"})


class ContentMode(Enum):
    """The content modes of CloudEvents, and plain JSON."""

    STRUCTURED = "one event"
    BATCH = "a batch"
    PLAIN = "one event where the body is an object, a batch where it is an array"
    BINARY = "attributes in headers, the data in the body"


_BY_TYPE = {
    STRUCTURED_TYPE: ContentMode.STRUCTURED,
    BATCH_TYPE: ContentMode.BATCH,
    PLAIN_TYPE: ContentMode.PLAIN,
}


def content_mode(request: web.Request) -> ContentMode:
    """The mode of a post. Raises Problem (415) where it has none.

    CloudEvents SDKs send JSON in binary mode as application/json; unlike plain JSON it has the attributes in headers.
    """
    media_type = request.content_type
    mode = _BY_TYPE.get(media_type)
    if mode is ContentMode.PLAIN:
        if "ce-specversion" in request.headers or "ce-id" in request.headers:
            mode = ContentMode.BINARY
    elif mode is None and not media_type.startswith("application/cloudevents") and has_attributes(request.raw_headers):
        mode = ContentMode.BINARY
    if mode is None or not _is_readable(request, mode, media_type):
        detail = f"Send {', '.join(_BY_TYPE)}, in UTF-8, or any type with the attributes of one event in ce- headers."
        raise Problem(415, "unsupported_media_type", "Media type not supported", detail)
    return mode


def _is_readable(request: web.Request, mode: ContentMode, media_type: str) -> bool:
    if mode is ContentMode.BINARY and not is_json(media_type):
        return True
    return request.charset is None or request.charset.lower() in UTF_8
