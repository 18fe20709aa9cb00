"""The grants: what each role needs in the schema of an installation, and nothing else.

`migrate --roles` grants them, a worker checks them when it starts, and docs/roles.md shows them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Literal, NamedTuple, get_args

RoleName = Literal["ingest", "relay", "project", "query", "access", "operate", "administer", "verify"]
ROLE_NAMES: tuple[RoleName, ...] = get_args(RoleName)
PURPOSES: Mapping[RoleName, str] = {
    "ingest": "accepts events, over HTTP and MQTT",
    "relay": "stores and publishes accepted events",
    "project": "the event handler: folds events into rows",
    "query": "answers reads",
    "access": "beside one of the above: finds keys, notes their use, and writes the access log",
    "operate": "retries and discards parked events",
    "administer": "beside `operate`: makes, rotates and revokes keys over HTTP",
    "verify": "the commands `verify` and `check-history`",
}

# Privileges in the words of GRANT; some for certain columns only, in parentheses.
TABLES: Mapping[RoleName, Mapping[str, str]] = {
    "ingest": {
        "outbox": "SELECT INSERT DELETE",
        "event_store": "SELECT",
        "relay_state": "SELECT",
        "progress": "SELECT(projection,partition,position)",
        "parked": "SELECT(projection,position)",
        "discarded": "SELECT(projection,position)",
        "unpublished": "SELECT(position,published_at)",
        "abandoned": "SELECT",
        "dead_letters": "SELECT(number,digest,times) UPDATE(times,last_received_at) DELETE "
        "INSERT(digest,times,topic,payload,payload_bytes,code,reason,problem)",
    },
    "relay": {
        "outbox": "SELECT DELETE",
        "event_store": "SELECT INSERT",
        "relay_state": "SELECT UPDATE(last_position,epoch)",
        "topic_partitions": "SELECT INSERT(partition,last_position) UPDATE(last_position,previous_position)",
        "installation": "SELECT",
        "epochs": "SELECT INSERT(id,after_position) DELETE",
        "abandoned": "SELECT INSERT(epoch,last_position,after_position) UPDATE(last_position)",
        "progress": "SELECT(projection,partition) UPDATE(life)",
        "unpublished": "SELECT INSERT(position,partition,error,size_bytes) "
        "UPDATE(error,size_bytes,attempts,published_at)",
    },
    "project": {
        "event_store": "SELECT",
        "outbox": "SELECT(source,id)",
        "relay_state": "SELECT",
        "topic_partitions": "SELECT",
        "installation": "SELECT",
        "epochs": "SELECT",
        "abandoned": "SELECT",
        "unpublished": "SELECT(position,partition,published_at)",
        "projections": "SELECT INSERT(projection,key,state,position,version) "
        "UPDATE(state,position,version,updated_at) DELETE",
        "progress": "SELECT INSERT(projection,partition,position) UPDATE(position,updated_at)",
        "parked": "SELECT(projection,key,key_is_known) "
        "INSERT(projection,position,key,key_is_known,error,attempts,traceback,tried_at)",
        "discarded": "SELECT(projection)",
        "unparked": "SELECT(projection)",
        "forgetting": "SELECT(projection)",
    },
    "query": {
        "event_store": "SELECT",
        "relay_state": "SELECT",
        "topic_partitions": "SELECT",
        "abandoned": "SELECT",
        "unpublished": "SELECT(published_at)",
        "projections": "SELECT",
        "progress": "SELECT",
        "parked": "SELECT",
        "discarded": "SELECT(projection,position)",
        "unparked": "SELECT",
        "forgetting": "SELECT(projection)",
        "dead_letters": "SELECT",
        "access_log": "SELECT",
    },
    "access": {
        "api_keys": "SELECT(id,name,hash,scopes,sources,subjects,types,certificate,expires_at,revoked_at,last_used_at) "
        "UPDATE(last_used_at)",
        "access_log": "INSERT(at,request_id,caller,caller_name,address,action,target,outcome,status,detail)",
    },
    "administer": {
        "api_keys": "SELECT INSERT(id,name,hash,scopes,sources,subjects,types,certificate,created_by,expires_at) "
        "UPDATE(expires_at,revoked_at,certificate)",
        "access_log": "INSERT(at,request_id,caller,caller_name,address,action,target,outcome,status,detail)",
    },
    "operate": {
        "event_store": "SELECT",
        "topic_partitions": "SELECT(partition)",
        "relay_state": "SELECT",
        "projections": "SELECT INSERT(projection,key,state,position,version) "
        "UPDATE(state,position,version,updated_at) DELETE",
        "progress": "SELECT INSERT(projection,partition,position) UPDATE(position,updated_at)",
        "parked": "SELECT UPDATE(key,key_is_known,error,attempts,traceback,tried_at) DELETE",
        "discarded": "INSERT",
        "unparked": "INSERT(projection,position)",
        "forgetting": "SELECT(projection)",
        "dead_letters": "SELECT",
    },
    "verify": {
        "event_store": "SELECT",
        "outbox": "SELECT",
        "relay_state": "SELECT",
        "topic_partitions": "SELECT",
        "installation": "SELECT",
        "epochs": "SELECT",
        "unpublished": "SELECT(position,published_at)",
        "projections": "SELECT(projection,key,state,position)",
        "progress": "SELECT(projection,partition,position)",
        "parked": "SELECT(projection,position,key,key_is_known)",
        "discarded": "SELECT(projection,position,key,key_is_known)",
    },
}
"""By role, its tables with their privileges. A table that a version does not have is passed over."""
OF_WORKERS: Mapping[str, str] = {"schema_migrations": "SELECT(number)", "installation": "SELECT(id)"}
"""What every role with an address needs besides: whether the schema is current, and which installation it is."""
WITH_ADDRESS: Collection[RoleName] = ("ingest", "relay", "project", "query", "operate")

_AS_TEXT = ("event_as_text", "long_numbers_bytes")
FUNCTIONS: Mapping[RoleName, Collection[str]] = {
    "ingest": ("outbox_accept_group", "events_are_same", "event_content_is_same"),
    "relay": _AS_TEXT,
    "project": (*_AS_TEXT, "require_unchanged", "instant_of"),
    "query": (*_AS_TEXT, "instant_of"),
    "access": (),
    "administer": (),
    "operate": (*_AS_TEXT, "require_unchanged", "instant_of"),
    "verify": _AS_TEXT,
}
"""By role, the functions that it may execute. An index that uses `instant_of` executes it for whoever writes a row."""

NEVER_CHANGED = ("event_store", "access_log", "schema_migrations")
"""No role may change or remove what these tables have."""

_PRIVILEGE = re.compile(r"([A-Z]+)(?:\(([a-z_,]+)\))?")


class Privilege(NamedTuple):
    """A privilege on a table, or on some of its columns."""

    table: str
    kind: str
    columns: tuple[str, ...] = ()
    """Empty: all of them."""

    @property
    def text(self) -> str:
        """As GRANT has it."""
        return f"{self.kind} ({', '.join(self.columns)})" if self.columns else self.kind


def privileges(role: RoleName) -> Iterator[Privilege]:
    """What a role needs on tables; no table and kind twice, unless for certain columns."""
    needed_by = {**OF_WORKERS, **TABLES[role]} if role in WITH_ADDRESS else TABLES[role]
    for table, needed in needed_by.items():
        for kind, columns in _PRIVILEGE.findall(needed):
            yield Privilege(table, kind, tuple(columns.split(",")) if columns else ())
