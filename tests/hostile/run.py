"""Sends the hostile requests of cases.json to a server on loopback, and lists what was not answered as it must be.

Needs only this file and the cases, and asyncpg where --dsn is given:

    python tests/hostile/run.py tests/hostile/cases.json --ingest http://127.0.0.1:8080 --query http://127.0.0.1:8081
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import contextlib
import gzip
import json
import os
import re
import socket
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

CONTROL = "control_valid_event"
"""The case that shows that the server is alive."""
CONTROL_EVERY = 25
TIMEOUT_SECONDS = 10.0
SLOW_SECONDS = 2.0
COUNT = """
SELECT count(*) FROM (SELECT source, id FROM outbox UNION SELECT source, id FROM event_store) AS found
WHERE lower(id) LIKE '%' || $1 || '%'
"""
SERIOUS = ("server error", "hang", "crash", "stored", "refused afterwards")

Case = dict[str, Any]


class Reply(NamedTuple):
    """What came back; its status is a code, `close` or `hang`."""

    status: str
    raw: bytes
    seconds: float


class Result(NamedTuple):
    """What became of one case; `why` says what was wrong, and is empty when nothing was."""

    name: str
    category: str
    got: list[str]
    why: list[str]
    elapsed: float


class Placeholders:
    """The values of {{…}} for one case."""

    def __init__(self, options: argparse.Namespace, defaults: dict[str, Any]) -> None:
        self.uuid = str(uuid.uuid4())
        names = {**defaults["key_names"], **dict(pair.split("=", 1) for pair in options.map)}
        values = {
            "uuid": self.uuid,
            "uuid_upper": self.uuid.upper(),
            "uuid_hex": self.uuid.replace("-", ""),
            "type": options.type or defaults["type"],
            "data": options.data or defaults["data"],
            "extra": defaults["extra"] if options.extra is None else options.extra,
            "path.ingest": options.path_ingest or defaults["path.ingest"],
            "path.query": options.path_query or defaults["path.query"],
            "host": urlsplit(options.ingest or defaults["ingest"]).netloc,
            "ingest_key": os.environ.get("INGEST_KEY", ""),
            "tenant_a_key": os.environ.get("TENANT_A_KEY", ""),
            **{f"k.{key}": name for key, name in names.items()},
        }
        self._values = {f"{{{{{name}}}}}": value for name, value in values.items()}

    def text(self, text: str) -> str:
        """The text with the values in it."""
        return self.data(text.encode()).decode()

    def data(self, data: bytes) -> bytes:
        """The bytes with the values in them."""
        for placeholder, value in self._values.items():
            data = data.replace(placeholder.encode(), value.encode())
        return data


def generated(rule: dict[str, Any], fill: Placeholders) -> bytes:
    """A body that is too long to be written out; body_kinds in cases.json describes the rules."""
    parts = [fill.text(rule["prefix"])]
    if "repeat_counter" in rule:
        parts += [fill.text(rule["repeat_counter"]).replace("{i}", str(number)) for number in range(rule["times"])]
    else:
        parts.append(fill.text(rule.get("repeat", "")) * rule["times"])
    parts += [rule.get("mid", "") * rule.get("mid_times", 0), fill.text(rule["suffix"])]
    body = "".join(parts).encode()
    for _ in filter(None, rule.get("encode", "").split(",")):
        body = gzip.compress(body, 6)
    return body


def body_of(case: Case, fill: Placeholders) -> bytes | None:
    """The body of a request; None where it has none."""
    if "body" in case:
        return fill.text(case["body"]).encode()
    if "body_b64" in case:
        return fill.data(base64.b64decode(case["body_b64"]))
    return generated(case["body_gen"], fill) if "body_gen" in case else None


def request_of(case: Case, fill: Placeholders, server: SplitResult, added: list[str]) -> bytes:
    """The whole request. `added`: headers for every case that does not set them itself."""
    if "raw" in case:
        return fill.text(case["raw"]).encode()
    headers = {name.strip(): value.strip() for name, _, value in (header.partition(":") for header in added)}
    headers = {"Host": server.netloc, **headers, **case.get("headers", {}), "Connection": "close"}
    lines = [f"{case['method']} {fill.text(case['path'])} HTTP/1.1"]
    lines += [f"{name}: {fill.text(str(value))}" for name, value in headers.items()]
    body = body_of(case, fill)
    size = case.get("body_gen", {}).get("chunked", 0)
    if body is not None and size:
        pieces = (body[start : start + size] for start in range(0, len(body), size))
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        lines.append("Transfer-Encoding: chunked")
    elif body is not None or case["method"] == "POST":
        lines.append(f"Content-Length: {len(body or b'')}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def exchange(server: SplitResult, request: bytes, seconds: float) -> Reply:
    """Send a request and read its answer, on a connection of its own. Raises OSError when there is none to be had."""
    started = time.monotonic()
    with socket.create_connection((server.hostname or "", server.port or 80), timeout=5) as connection:
        connection.settimeout(seconds)

        def send() -> None:
            with contextlib.suppress(OSError):  # answered, and closed before all of it was read
                connection.sendall(request)

        threading.Thread(target=send, daemon=True).start()
        raw = answer_on(connection, started + seconds)
    took = time.monotonic() - started
    found = re.match(rb"HTTP/1\.[01] (\d{3})", raw)
    status = found[1].decode() if found is not None else "close" if took < seconds - 0.1 else "hang"
    return Reply(status, raw, took)


def answer_on(connection: socket.socket, deadline: float) -> bytes:
    """What comes until the answer is whole, the connection ends or the time is over."""
    raw = b""
    while True:
        head, end, body = raw.partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length:\s*(\d+)", head)
        if end and length is not None and len(body) >= int(length[1]):
            return raw
        connection.settimeout(max(0.05, deadline - time.monotonic()))
        try:
            received = connection.recv(262_144)
        except OSError:
            return raw
        if not received:
            return raw
        raw += received


async def stored_rows(dsn: str, query: str, event_id: str) -> int:
    """How many rows have ids of the case."""
    import asyncpg  # noqa: PLC0415 - not needed without --dsn

    connection = await asyncpg.connect(dsn)
    try:
        found: int = await connection.fetchval(query, event_id)
    finally:
        await connection.close()
    return found


class Runner:
    """The cases against one server."""

    def __init__(self, options: argparse.Namespace, document: dict[str, Any]) -> None:
        self._options = options
        self._defaults: dict[str, Any] = document["defaults"]
        self._cases: list[Case] = document["cases"]
        self._control = next(case for case in self._cases if case["name"] == CONTROL)
        self._servers = {name: urlsplit(getattr(options, name) or self._defaults[name]) for name in ("ingest", "query")}
        for server in self._servers.values():
            assert server.hostname in ("127.0.0.1", "localhost", "::1"), "loopback only"

    def is_alive(self) -> bool:
        """Whether the control event is accepted."""
        try:
            return self._send(
                self._control, Placeholders(self._options, self._defaults), TIMEOUT_SECONDS
            ).status.startswith("2")
        except OSError:
            return False

    def results(self) -> list[Result]:
        """What became of each case that was asked for; prints those that failed."""
        skipped, made = set(self._options.skip_requires.split(",")), []
        for number, case in enumerate(self._cases):
            chosen = re.search(self._options.only, f"{case['name']} {case['category']}")
            if not chosen or case.get("requires") in skipped:
                continue
            made.append(self._result(case, must_be_alive=number % CONTROL_EVERY == 0))
            if made[-1].why or self._options.v:
                print("FAIL" if made[-1].why else "ok  ", *made[-1][:3], "want", case["expect"]["status"], made[-1].why)
        return made

    def _result(self, case: Case, *, must_be_alive: bool) -> Result:
        fill = Placeholders(self._options, self._defaults)
        replies: list[Reply] = []
        why: set[str] = set()
        try:
            for step in case.get("steps", [{**case, **case["expect"]}]):
                answers = self._answers(
                    {"target": case["target"], **step}, fill, case.get("timeout_s", TIMEOUT_SECONDS)
                )
                wanted = "|".join(step["status"]).replace("xx", r"\d\d")
                why |= {f"status {one.status}" for one in answers if not re.fullmatch(wanted, one.status)}
                replies += answers
        except OSError as error:
            why.add(f"crash: {error}")
        why |= self._wrong_in(case["expect"], replies, fill.uuid)
        if (must_be_alive or is_serious(why)) and not self.is_alive():
            why.add("control event refused afterwards")
        elapsed = round(max((reply.seconds for reply in replies), default=0.0), 2)
        return Result(case["name"], case["category"], [one.status for one in replies][:3], sorted(why), elapsed)

    def _answers(self, request: Case, fill: Placeholders, seconds: float) -> list[Reply]:
        times = request.get("concurrent", 1)
        with ThreadPoolExecutor(times) as threads:
            return list(threads.map(lambda _: self._send(request, fill, seconds), range(times)))

    def _wrong_in(self, expected: dict[str, Any], replies: list[Reply], event_id: str) -> set[str]:
        why = {"hang" for reply in replies if reply.status == "hang"}
        for reply in replies:
            may_be = reply.status == "503" and b"etry-after" in reply.raw
            if reply.status.startswith("5") and "5xx" in expected["never"] and not may_be:
                why.add(f"server error {reply.status}")
            if "elapsed < 2 s" in expected.get("check", "") and reply.seconds > SLOW_SECONDS:
                why.add(f"slow: {reply.seconds:.1f} s")
        if self._options.dsn and isinstance(expected.get("stored"), int):
            stored = asyncio.run(stored_rows(self._options.dsn, self._options.count_sql, event_id))
            if stored != expected["stored"]:
                why.add(f"stored {stored}, not {expected['stored']}")
        return why

    def _send(self, case: Case, fill: Placeholders, seconds: float) -> Reply:
        server = self._servers[case["target"]]
        return exchange(server, request_of(case, fill, server, self._options.header), seconds)


def is_serious(why: set[str] | list[str]) -> bool:
    """Whether the server broke, or stored what it must not."""
    return any(sign in reason for reason in why for sign in SERIOUS)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="cases.json")
    parser.add_argument("--dsn", help="PostgreSQL, to count what was stored")
    parser.add_argument("--count-sql", default=COUNT, help="counts the rows whose id has $1 in it")
    parser.add_argument("--only", default="", help="a pattern for names and categories of cases")
    parser.add_argument("--skip-requires", default="slow,auth", help="leave out cases that need these")
    parser.add_argument("--map", action="append", default=[], help="KEY=NAME: another name of an envelope member")
    for name in ("ingest", "query", "type", "data", "extra", "path-ingest", "path-query"):
        parser.add_argument(f"--{name}", help="instead of what the file's defaults have")
    parser.add_argument("--header", action="append", default=[], help="'Name: value' for every request")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("-v", action="store_true", help="list the cases that passed too")
    return parser.parse_args()


def main() -> int:
    """Run the cases; 1 when one fails."""
    options = arguments()
    runner = Runner(options, json.loads(options.file.read_text("utf-8")))
    assert runner.is_alive(), "the control event is refused: there is nothing to test"
    results = runner.results()
    outcomes = collections.Counter((one.category, "failed" if one.why else "passed") for one in results)
    print(", ".join(f"{category}: {count} {outcome}" for (category, outcome), count in sorted(outcomes.items())))
    failed = [one for one in results if one.why]
    serious = sum(is_serious(one.why) for one in failed)
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed ({serious} of them serious)")
    if options.out:
        options.out.write_text(json.dumps([one._asdict() for one in results], indent=1), "utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
