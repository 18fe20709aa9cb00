"""The MQTT messages of tests/hostile/cases.json, and what may become of each."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Set
from typing import Any, NamedTuple

from tests.support.servers.worker_process import ROOT

HOSTILE = ROOT / "tests" / "hostile"
ONE, NONE, ANY = frozenset({1}), frozenset({0}), frozenset({0, 1})


class Fate(NamedTuple):
    """How many events may be stored, and how many dead letters kept, besides those of no message."""

    stored: Set[int]
    letters: Set[int]


STORED, REFUSED, STOPPED_BY_THE_BROKER = Fate(ONE, NONE), Fate(NONE, ONE), Fate(NONE, NONE)
FATES = {
    "valid_qos1": STORED,
    "valid_qos0": Fate(ANY, NONE),
    "dup_redelivery": STORED,
    "not_json": REFUSED,
    "empty_payload": REFUSED,
    "empty_retained": REFUSED,
    # The letter is of the empty message that ends it.
    "retained_event_replayed": Fate(ONE, ONE),
    "invalid_utf8_payload": REFUSED,
    "payload_1_1mb": REFUSED,
    "device_mismatch": REFUSED,
    "topic_of_other_device": STOPPED_BY_THE_BROKER,
    "client_id_hash": STOPPED_BY_THE_BROKER,
    "client_id_plus": STOPPED_BY_THE_BROKER,
    "publish_wildcard_plus": STOPPED_BY_THE_BROKER,
    "topic_nul": STOPPED_BY_THE_BROKER,
    "topic_65535": REFUSED,
    "topic_dotdot": STORED,
    "topic_sql": STORED,
    # The broker gives up what has expired, and says so nowhere: docs/mqtt.md.
    "v5_expired_message": STOPPED_BY_THE_BROKER,
    "v5_user_properties_10k": STORED,
    "flood_10k_while_db_down": STORED,
}


class Hostile(NamedTuple):
    """One message."""

    name: str
    event_id: str
    topic: str
    payload: bytes
    case: dict[str, Any]


def hostile_messages() -> dict[str, Hostile]:
    """All of them, with ids of their own."""
    document: dict[str, Any] = json.loads((HOSTILE / "cases.json").read_text("utf-8"))
    return {case["name"]: hostile_message(case, document["defaults"]) for case in document["mqtt_cases"]}


def hostile_message(case: dict[str, Any], defaults: dict[str, Any], event_id: str = "") -> Hostile:
    """The placeholders filled as `run.py` beside the file does."""
    event_id = event_id or str(uuid.uuid4())
    filled: dict[str, str] = {f"{{{{k.{key}}}}}": name for key, name in defaults["key_names"].items()}
    filled |= {f"{{{{{name}}}}}": defaults[name] for name in ("type", "data", "extra")} | {"{{uuid}}": event_id}

    def fill(text: str) -> str:
        for placeholder, value in filled.items():
            text = text.replace(placeholder, value)
        return text

    def made(given: dict[str, Any]) -> str:
        times: int = given["times"]
        return fill(given["prefix"]) + fill(given["repeat"]) * times + fill(given["suffix"])

    topic = made(case["topic_gen"]) if "topic_gen" in case else case["topic"]
    if "payload_b64" in case:
        payload = base64.b64decode(case["payload_b64"])
    else:
        payload = (made(case["payload_gen"]) if "payload_gen" in case else fill(case["payload"])).encode()
    return Hostile(case["name"], event_id, topic, payload, case)
