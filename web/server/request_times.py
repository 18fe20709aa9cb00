"""Counts and durations of requests, by route and class of status; never by path, which clients choose."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from headrace.process import metrics
from headrace.process.histogram import SECONDS, Histogram
from headrace.process.metrics import Sample

UNMATCHED = "unmatched"
CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")


class RequestTimes:
    """The histograms of one port."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._histograms: dict[tuple[str, int], Histogram] = {}

    def middleware(self) -> Middleware:
        """The outermost middleware: the middlewares inside it turn errors into answers."""
        histograms = self._histograms

        @web.middleware
        async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
            started = perf_counter()
            response = await handler(request)
            if not isinstance(response, web.Response):
                return response  # a stream lasts as long as its client wants, which is no measure of ours
            key = (route_of(request), response.status // 100)
            histogram = histograms.get(key)
            if histogram is None:
                histogram = histograms[key] = Histogram(SECONDS)
            histogram.observe(perf_counter() - started)
            return response

        return timed

    def samples(self) -> Iterator[Sample]:
        """One histogram for each route and class of status."""
        for (route, status_class), histogram in self._histograms.items():
            yield Sample(metrics.REQUESTS, histogram, (self._service, route, CLASSES[status_class]))


def route_of(request: web.Request) -> str:
    """The pattern of the route, not the path: clients cannot add new patterns."""
    if (hot := getattr(request, "hot_route", None)) is not None:
        return str(hot)
    resource = request.match_info.route.resource
    return UNMATCHED if resource is None else resource.canonical
