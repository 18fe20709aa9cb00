"""An application served as a worker serves it: with its hot paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from web.server.hot_paths import HotPath, take_short_cuts


class HotServer(TestServer):
    """Takes the short cuts once it has started."""

    def __init__(self, application: web.Application, hot_paths: Sequence[HotPath]) -> None:
        super().__init__(application)
        self._application = application
        self._hot_paths = hot_paths

    async def start_server(self, *arguments: Any, **options: Any) -> None:
        await super().start_server(*arguments, **options)
        assert self.runner is not None
        assert self.runner.server is not None
        take_short_cuts(self.runner.server, self._application, self._hot_paths)
