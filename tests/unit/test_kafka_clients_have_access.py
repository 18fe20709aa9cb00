"""No client of Kafka is made without the login: each one gets the arguments of a `KafkaAccess`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("agents", "app", "headrace", "tables", "web", "scripts")
CLIENTS = {"AIOKafkaProducer", "AIOKafkaConsumer", "AIOKafkaAdminClient", "AIOKafkaClient", "create_conn"}
CLIENTS |= {"AIOKafkaConnection"}
GIVES_ACCESS = {"arguments", "login"}
# The embedded broker: its readiness and its controller, before a worker uses it.
OTHERS = {"app/embedded/kafka/broker.py", "app/embedded/kafka/login.py"}


def made() -> Iterator[tuple[str, ast.Call]]:
    """Each place that makes a client."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                name = getattr(node, "func", None)
                called = name.id if isinstance(name, ast.Name) else name.attr if isinstance(name, ast.Attribute) else ""
                if isinstance(node, ast.Call) and called in CLIENTS:
                    yield path.relative_to(ROOT).as_posix(), node


def has_access(call: ast.Call) -> bool:
    """Whether it is given `**access.arguments()` or `**access.login()`, and no address or login beside it."""
    given = [one.value for one in call.keywords if one.arg is None]
    named = {one.arg for one in call.keywords if one.arg is not None}
    return any(
        isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in GIVES_ACCESS
        for one in given
    ) and not any(name.startswith(("bootstrap", "sasl", "security", "ssl")) for name in named)


def test_every_client_gets_the_arguments_of_an_access() -> None:
    found = list(made())
    assert len(found) > 6
    assert [f"{path}:{call.lineno}" for path, call in found if path not in OTHERS and not has_access(call)] == []
    assert {path for path, _ in found} >= OTHERS


def test_faust_gets_its_address_and_login_in_one_place() -> None:
    texts = {path: path.read_text("utf-8") for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert [path.name for path, text in texts.items() if "broker_credentials" in text] == ["consumer_thread.py"]
