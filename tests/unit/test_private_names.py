"""The scan for private names of libraries finds them however they are written."""

from __future__ import annotations

import ast
import inspect
from textwrap import dedent

import pytest
from aiohttp import web

from tests.support.private_names import inherited_names, private_names


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("found = consumer._secret", "_secret"),
        ("super()._secret()", "_secret"),
        ("self._client._secret", "_secret"),
        ("make(_secret=1)", "_secret"),
        ("getattr(consumer, '_secret')", "_secret"),
        ("from aiohttp._secret import parser", "_secret"),
        ("from aiohttp import _secret", "_secret"),
        ("import aiohttp._secret", "_secret"),
    ],
)
def test_a_private_name_of_another_object_is_found(line: str, name: str) -> None:
    assert [found for found, _ in private_names(ast.parse(line))] == [name]


@pytest.mark.parametrize("line", ["self._mine = 1", "cls._mine()", "row._replace(n=1)", "_mine = there", "x.__doc__"])
def test_a_name_of_our_own_is_not_found(line: str) -> None:
    assert not list(private_names(ast.parse(line)))


class Overriding(web.Request):
    _mine = 1
    _match_info = None

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        self._own = self._mine
        assert self._cache


def test_what_a_class_inherits_or_overrides_is_found() -> None:
    (node,) = ast.parse(dedent(inspect.getsource(Overriding))).body
    assert isinstance(node, ast.ClassDef)
    assert {name for name, _ in inherited_names(node, Overriding)} == {"_match_info", "_prepare_hook", "_cache"}
