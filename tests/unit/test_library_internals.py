"""What the product relies on below the public API of libraries: each name is still there, and no other is used.

An upgrade that renames or changes one of them fails here. A new private name in the product needs a line here.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from textwrap import dedent
from typing import Any, NamedTuple, get_args

import faust
import pytest
from aiohttp import StreamReader, http_exceptions, streams, web, web_protocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, conn
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from aiokafka.consumer.fetcher import Fetcher, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.sender import Sender
from aiokafka.protocol.metadata import MetadataRequest, MetadataResponse_v2
from faust.cli.worker import worker as worker_command
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import ConsumerMessage
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from yarl import URL

from tests.support.private_names import Use, members, uses


class Method(NamedTuple):
    """A function that we call or replace, and its parameters without their types."""

    room: str
    of: Any
    name: str
    signature: str


class Attribute(NamedTuple):
    """What an object has as soon as it is made; `kind` is the type of it."""

    room: str
    of: str
    name: str
    kind: type | tuple[type, ...]


class Assigned(NamedTuple):
    """What is there only once an object talks to a server: its class is read for the assignment."""

    room: str
    of: type
    name: str


NONE = type(None)
PRIVATE_METHODS = [
    Method("agents/kafka", driver.AIOKafkaConsumerThread, "_commit", "async (self, offsets)"),
    Method("agents/kafka", driver.AIOKafkaConsumerThread, "_ensure_consumer", "(self)"),
    Method("agents/kafka", driver.AIOKafkaConsumerThread, "_create_worker_consumer", "(self, transport)"),
    Method("agents/kafka", AIOKafkaConnection, "_do_sasl_handshake", "async (self)"),
    Method("agents/kafka", driver.Consumer, "_new_consumer_thread", "(self)"),
    Method("agents/kafka", driver.Consumer, "_wait_next_records", "async (self, timeout)"),
    Method("agents/kafka", driver.Consumer, "_add_gap", "async (self, tp, offset_from, offset_to)"),
    Method("agents/kafka", driver.Consumer, "_new_offset", "(self, tp)"),
    Method("agents/kafka", PartitionRecords, "_unpack_records", "(self)"),
    Method("agents/mqtt", Client, "_create_socket", "(self)"),
    Method("agents/mqtt", Client, "_handle_publish", "(self)"),
    Method("app/worker", faust.App, "_new_transport", "(self)"),
    Method("app/worker", faust.App, "_create_directories", "(self)"),
    Method("app/worker", faust.Worker, "_schedule_shutdown", "(self, signal)"),
    Method("app/worker", faust.Worker, "_sentinel_task", "async (self)"),
    Method("app/worker", faust.Worker, "_say", "(self, msg, file=None, end='\\n', **kwargs)"),
    Method("web/server", web.AppRunner, "_make_server", "async (self)"),
    Method("web/server", web.Request, "_prepare_hook", "async (self, response)"),
]
PRIVATE_ATTRIBUTES = [
    Attribute("agents/kafka", "thread", "_consumer", NONE),
    Attribute("agents/kafka", "consumer", "_acked", Mapping),
    Attribute("agents/kafka", "consumer", "_acked_index", Mapping),
    Attribute("agents/kafka", "consumer", "_committed_offset", Mapping),
    Attribute("agents/kafka", "consumer", "_read_offset", Mapping),
    Attribute("agents/kafka", "kafka_consumer", "_coordinator", NONE),
    Attribute("agents/kafka", "kafka_consumer", "_fetcher", NONE),
    Attribute("agents/mqtt", "paho", "_in_packet", dict),
    Attribute("agents/relay", "kafka_producer", "_sender", Sender),
    Attribute("agents/relay", "kafka_client", "_conns", dict),
    Attribute("agents/relay", "kafka_connection", "_writer", NONE),
    Attribute("web/server", "web_server", "_connections", dict),
    Attribute("web/server", "web_server", "_kwargs", dict),
    Attribute("web/server", "web_server", "_loop", asyncio.AbstractEventLoop),
    Attribute("web/server", "web_connection", "_loop", asyncio.AbstractEventLoop),
    Attribute("web/server", "web_connection", "_current_request", NONE),
    Attribute("web/server", "web_connection", "_messages", deque),
    Attribute("web/server", "web_connection", "_parser", HttpRequestParser),
    Attribute("web/server", "web_connection", "_read_bufsize", int),
    Attribute("web/server", "web_connection", "_request_count", int),
    Attribute("web/server", "web_request", "_match_info", NONE),
]
PRIVATE_ASSIGNED = [
    Assigned("agents/kafka", AIOKafkaConsumer, "_client"),
    Assigned("agents/kafka", AIOKafkaConsumer, "_coordinator"),
    Assigned("agents/kafka", AIOKafkaConsumer, "_fetcher"),
    Assigned("agents/kafka", GroupCoordinator, "_coordination_task"),
    Assigned("agents/kafka", Fetcher, "_fetch_task"),
    Assigned("agents/kafka", PartitionRecords, "_records"),
    Assigned("agents/kafka", PartitionRecords, "_tp"),
    Assigned("agents/kafka", driver.AIOKafkaConsumerThread, "_consumer"),
    Assigned("agents/relay", AIOKafkaConnection, "_writer"),
    Assigned("web/server", web.RequestHandler, "_current_request"),
]
PRIVATE_PARAMETERS = [("web/server", web.Application._make_request, "_cls")]
# Documented by Python, or a method of our own that a class method calls on the instance that it makes.
OTHER_NAMES = {
    ("agents/mqtt", "_open"),
    ("app/worker", "_current_frames"),
    ("app/worker", "_exit"),
}
# They have no underscore, and no documentation either.
UNDOCUMENTED_METHODS = [
    Method("agents/kafka", AIOKafkaConnection, "send", "(self, request, expect_response=True)"),
    Method("agents/kafka", AIOKafkaConnection, "close", "(self, reason=None, exc=None)"),
    Method("agents/kafka", OAuthAuthenticator, "step", "async (self, payload)"),
    Method("agents/kafka", GroupCoordinator, "check_errors", "(self)"),
    Method("agents/kafka", GroupCoordinator, "request_rejoin", "(self)"),
    Method("agents/kafka", driver, "ensure_aiokafka_TP", "(tp)"),
    Method("agents/kafka", driver.AIOKafkaConsumerThread, "__post_init__", "(self)"),
    Method("agents/kafka", driver.AIOKafkaConsumerThread, "assignment", "(self)"),
    Method("agents/kafka", driver.Consumer, "getmany", "async iterator (self, timeout)"),
    Method("agents/kafka", driver.Consumer, "ack", "(self, message)"),
    Method("agents/kafka", driver.Consumer, "on_buffer_full", "(self, tp)"),
    Method("agents/kafka", driver.Consumer, "on_buffer_drop", "(self, tp)"),
    Method("agents/kafka", driver.Consumer, "verify_event_path", "(self, now, tp)"),
    Method("app/worker", worker_command, "on_worker_created", "(self, worker)"),
    Method("web/server", web.RequestHandler, "data_received", "(self, data)"),
    Method("web/server", web.RequestHandler, "connection_lost", "(self, exc)"),
    Method("web/server", web.RequestHandler, "force_close", "(self)"),
    Method("web/server", web.RequestHandler, "handle_error", "(self, request, status=500, exc=None, message=None)"),
    Method("web/server", web.RequestHandler, "finish_response", "async (self, request, resp, start_time)"),
    Method("web/server", web.Server, "connection_made", "(self, handler, transport)"),
    Method("web/server", web.Server, "shutdown", "async (self, timeout=None)"),
]
UNDOCUMENTED_ATTRIBUTES = [
    Attribute("agents/kafka", "consumer", "flow_active", bool),
    Attribute("agents/kafka", "consumer", "should_stop", bool),
    Attribute("agents/kafka", "thread", "consumer", driver.Consumer),
    Attribute("agents/kafka", "thread", "parent_loop", asyncio.AbstractEventLoop),
    Attribute("agents/relay", "kafka_producer", "client", object),
    Attribute("agents/relay", "kafka_sender", "sender_task", NONE),
    Attribute("web/server", "web_server", "request_factory", Callable),  # type: ignore[arg-type]  # isinstance knows it
    Attribute("web/server", "web_server", "request_handler", Callable),  # type: ignore[arg-type]
]


def name_of(entry: Any) -> str:
    return str(entry.name)


def signature_of(function: Any) -> str:
    bare = inspect.signature(function)
    bare = bare.replace(
        parameters=[one.replace(annotation=inspect.Parameter.empty) for one in bare.parameters.values()],
        return_annotation=inspect.Signature.empty,
    )
    if inspect.isasyncgenfunction(function):
        return f"async iterator {bare}"
    return f"async {bare}" if inspect.iscoroutinefunction(function) else str(bare)


@pytest.fixture
async def objects() -> AsyncIterator[dict[str, Any]]:
    """An object of each library's class, none of which has talked to a server."""
    app = faust.App("internals", broker="kafka://127.0.0.1:1")
    transport = driver.Transport([URL("kafka://127.0.0.1:1")], app)
    consumer = driver.Consumer(transport, *[lambda _: None] * 3)
    producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1")
    kafka_consumer = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1")
    loop = asyncio.get_running_loop()
    server = web.Server(lambda _: asyncio.sleep(0, web.Response()))
    thread = consumer._thread
    yield {
        "consumer": consumer,
        "thread": thread,
        "kafka_consumer": kafka_consumer,
        "kafka_producer": producer,
        "kafka_sender": producer._sender,
        "kafka_client": producer.client,
        "kafka_connection": AIOKafkaConnection("127.0.0.1", 1),
        "paho": Client(CallbackAPIVersion.VERSION2),
        "web_server": server,
        "web_connection": web.RequestHandler(server, loop=loop),
        "web_request": web.Request,
    }
    thread.thread_loop.close()
    await producer.stop()
    await kafka_consumer.stop()


def test_every_private_name_that_is_used_is_listed_and_no_other() -> None:
    listed = {(method.room, method.name) for method in PRIVATE_METHODS} | OTHER_NAMES
    listed |= {(attribute.room, attribute.name) for attribute in PRIVATE_ATTRIBUTES}
    listed |= {(assigned.room, assigned.name) for assigned in PRIVATE_ASSIGNED}
    listed |= {(room, parameter) for room, _, parameter in PRIVATE_PARAMETERS}
    found: list[Use] = list(uses())
    assert [use for use in found if (use.room, use.name) not in listed] == []
    assert listed - {(use.room, use.name) for use in found} == set()


@pytest.mark.parametrize("method", [*PRIVATE_METHODS, *UNDOCUMENTED_METHODS], ids=name_of)
def test_a_method_has_the_signature_that_we_rely_on(method: Method) -> None:
    assert signature_of(getattr(method.of, method.name)) == method.signature


@pytest.mark.parametrize("attribute", [*PRIVATE_ATTRIBUTES, *UNDOCUMENTED_ATTRIBUTES], ids=name_of)
async def test_an_object_has_the_attribute_that_we_rely_on(attribute: Attribute, objects: dict[str, Any]) -> None:
    assert isinstance(getattr(objects[attribute.of], attribute.name), attribute.kind)


@pytest.mark.parametrize("assigned", PRIVATE_ASSIGNED, ids=name_of)
def test_a_connected_object_gets_the_attribute_that_we_rely_on(assigned: Assigned) -> None:
    tree = ast.parse(dedent(inspect.getsource(assigned.of)))
    values = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for one in (target.elts if isinstance(target, ast.Tuple) else [target])
        if isinstance(one, ast.Attribute) and one.attr == assigned.name
    ]
    assert any(not isinstance(value, ast.Constant) for value in values)


@pytest.mark.parametrize(("room", "function", "name"), PRIVATE_PARAMETERS)
def test_a_function_has_the_private_parameter_that_we_pass(room: str, function: Callable[..., Any], name: str) -> None:
    assert inspect.signature(function).parameters[name].default is web.Request


def test_a_connection_has_the_options_that_we_set() -> None:
    options = inspect.signature(web.RequestHandler.__init__).parameters
    assert options.keys() >= {"manager", "loop", "keepalive_timeout", "max_line_size", "max_field_size"}


def test_a_request_waits_with_its_body_beside_it() -> None:
    message, body = get_args(web_protocol._MsgType)
    assert get_args(message)[0] is RawRequestMessage
    assert body is StreamReader
    assert web_protocol.MAX_MSG_QUEUE_SIZE > 1
    assert callable(HttpRequestParser.message_consumed)
    assert streams.EMPTY_PAYLOAD.is_eof()
    assert streams.EMPTY_PAYLOAD.total_bytes == 0
    assert isinstance(http_exceptions.LineTooLong("a line", "8190"), http_exceptions.BadHttpMessage)


def test_a_packet_has_its_first_byte_and_its_rest(objects: dict[str, Any]) -> None:
    packet = objects["paho"]._in_packet
    assert isinstance(packet["command"], int)
    assert isinstance(packet["packet"], bytearray)


def test_a_message_of_faust_takes_these_in_this_order() -> None:
    names = list(inspect.signature(ConsumerMessage.__init__).parameters)
    assert names[:14] == [
        *("self", "topic", "partition", "offset", "timestamp", "timestamp_type", "headers", "key", "value"),
        *("checksum", "serialized_key_size", "serialized_value_size", "tp", "time_in"),
    ]
    assert "generation_id" in names


def test_the_worker_has_what_we_switch_off() -> None:
    assert isinstance(faust.App.BootStrategy.enable_web, bool | None)
    assert faust.App.BootStrategy.enable_kafka_producer in (None, True)
    assert faust.App.BootStrategy.enable_kafka_consumer in (None, True)
    assert {"spinner", "crash_reason"} <= {name for base in faust.Worker.__mro__ for name in members(base)}


def test_a_broker_can_be_asked_for_its_cluster_without_a_client() -> None:
    assert list(inspect.signature(conn.create_conn).parameters)[:2] == ["host", "port"]
    assert inspect.iscoroutinefunction(conn.create_conn)
    assert signature_of(MetadataRequest.__init__) == "(self, topics=None, allow_auto_topic_creation=None)"
    assert {"brokers", "cluster_id"} <= set(MetadataResponse_v2.SCHEMA.names)
    assert "CONNECTION_BROKEN" in conn.CloseReason.__members__


def test_what_python_documents_is_there() -> None:
    assert callable(os._exit)
    assert callable(sys._current_frames)
