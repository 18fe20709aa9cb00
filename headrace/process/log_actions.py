"""The vocabulary of the log: what a line can report, at which level, with which fields, and what an operator does.

docs/logs.md is made from it (make docs), and a test compares it with every log call.
"""

from __future__ import annotations

from enum import Enum

NOTHING = "Nothing."
WAIT = "Nothing; it is retried until it succeeds."


class LogAction(Enum):
    """What a line reports. Lines are found and counted by this name; their texts may change."""

    level: str
    fields: tuple[str, ...]
    """All that its lines may carry."""
    meaning: str
    to_do: str

    def __init__(self, _: str, level: str, fields: str, meaning: str, to_do: str = NOTHING) -> None:
        self.level, self.fields, self.meaning, self.to_do = level, tuple(fields.split()), meaning, to_do

    def __str__(self) -> str:
        return str(self.value[0])

    WORKER_STARTED = (
        "worker.started",
        "INFO",
        "services ingestion query mqtt kafka topic",
        "The worker is up; the fields are its services and their addresses.",
    )
    WORKER_STOPPING = ("worker.stopping", "INFO", "seconds", "The worker stops, and keeps serving for `seconds`.")
    WORKER_FAILED = (
        "worker.failed",
        "CRITICAL",
        "",
        "The worker cannot start, or cannot continue. In text format the line begins with `headrace:`.",
        "Do what the line says.",
    )
    WORKER_CRASHED = (
        "worker.crashed",
        "ERROR",
        "error",
        "A part of the worker failed unexpectedly; the worker exits.",
        "Report the traceback, and restart the worker.",
    )
    WORKER_UNFINISHED = (
        "worker.unfinished",
        "INFO",
        "task seconds",
        "A task did not finish before the deadline of the stop. Nothing is lost.",
    )
    LIBRARY = (
        "library",
        "WARNING",
        "left_out",
        "A line of a library, not of Headrace; `logger` is the library.",
        "Read the lines of Headrace next to it.",
    )
    FAULT_ARMED = (
        "fault.armed",
        "WARNING",
        "faults",
        "Fault injection is on.",
        "Unset `FAULT_POINTS` outside of tests.",
    )
    FAULT_INJECTED = (
        "fault.injected",
        "WARNING",
        "point fault passage",
        "A fault was injected.",
        "Unset `FAULT_POINTS` outside of tests.",
    )

    POSTGRES_UNAVAILABLE = (
        "postgres.unavailable",
        "WARNING",
        "task error",
        "PostgreSQL does not answer; `task` waits for it. Requests get 503.",
        "Check PostgreSQL and `DATABASE_URL`.",
    )
    MIGRATION_APPLIED = ("migration.applied", "INFO", "migration", "A migration was applied.")
    INDEX_CREATED = ("index.created", "INFO", "projection field", "The index on a field was created.")
    INDEX_DROPPED = (
        "index.dropped",
        "INFO",
        "index",
        "An index was dropped: its build did not finish, or it is no longer declared.",
    )
    INDEX_FAILED = (
        "index.failed",
        "ERROR",
        "error",
        "A declared index cannot be created; queries by its field stay slow.",
        "Shorten the values of the field, or remove `indexed`.",
    )
    DISK_FULL = (
        "disk.full",
        "ERROR",
        "",
        "The disk of PostgreSQL is full; no worker writes until it has space.",
        "Free disk space.",
    )
    DISK_FREED = ("disk.freed", "INFO", "", "The disk of PostgreSQL has space again; writing resumes.")

    KAFKA_UNAVAILABLE = (
        "kafka.unavailable",
        "WARNING",
        "service broker error",
        "Kafka does not answer. Accepted events wait in the outbox, or projections wait for the topic.",
        "Check Kafka and `BROKER_URL`.",
    )
    KAFKA_FETCH_FAILED = ("kafka.fetch_failed", "WARNING", "error", "A fetch from Kafka failed.", WAIT)
    KAFKA_COMMIT_FAILED = (
        "kafka.commit_failed",
        "WARNING",
        "error",
        "Offsets could not be committed. Events may be redelivered, and are applied once.",
        WAIT,
    )
    KAFKA_GROUP_FAILED = (
        "kafka.group_failed",
        "WARNING",
        "error",
        "The event handler cannot join its consumer group.",
        "Check the other members of `CONSUMER_GROUP`, and its permissions.",
    )
    TOPIC_TOO_SMALL = (
        "topic.too_small",
        "WARNING",
        "error",
        "The topic has fewer partitions than the events that are stored.",
        "Recreate the topic with at least as many partitions.",
    )
    TOPIC_SETTING = (
        "topic.setting",
        "WARNING",
        "setting value needed",
        "A setting of the topic makes the broker refuse or remove events. They stay in the event store.",
        "Change the setting of the topic, as the line says.",
    )
    RECORD_SKIPPED = (
        "record.skipped",
        "WARNING",
        "partition error",
        "A record on the topic is not an event of Headrace.",
        "Find out which other program writes to the topic.",
    )
    RECORD_PASSED_OVER = (
        "record.passed_over",
        "WARNING",
        "partition reason installation position",
        "Records on the topic are not events of this database, as it is now. They are not applied.",
        "Do what the line says. Nothing is missing in the projections.",
    )
    EVENTS_UNDELIVERED = (
        "projection.undelivered",
        "WARNING",
        "projection partition position",
        "The topic did not deliver events that are stored; they are read from the event store, some seconds later.",
        "Check Kafka, and that no other installation is in `CONSUMER_GROUP`.",
    )
    PROJECTION_AHEAD = (
        "projection.ahead",
        "ERROR",
        "projection partition position last_position",
        "The progress of a projection is beyond the event store; new events up to it are not applied.",
        "Compute the projection from the start: see docs/restore.md.",
    )
    TOPIC_AHEAD = (
        "relay.topic_ahead",
        "WARNING",
        "partition position last_position epoch",
        "The topic has events of this installation that the event store lacks, and they are passed over.",
        "The database was restored or lost commits: read docs/restore.md. Give a copy a `TOPIC` of its own.",
    )
    RELAY_ACTIVE = ("relay.active", "INFO", "", "This worker publishes the outbox; other relays stand by.")
    RELAY_DUPLICATE = (
        "relay.duplicate",
        "WARNING",
        "",
        "The outbox holds an event that is already stored; it is published again, and applied once.",
    )
    RELAY_SET_ASIDE = (
        "relay.set_aside",
        "WARNING",
        "position partition size_bytes error",
        "Kafka refuses an event. The topic lacks it; projections read it from the event store.",
        "Raise `max.message.bytes` of the topic, then `faust -A app unpublished retry`.",
    )
    RELAY_REFILLED = (
        "relay.refilled",
        "WARNING",
        "count",
        "The topic lacked events that were stored; they were published again.",
        "Find out why the topic lost them.",
    )

    RELAY_LEFT_OUT = (
        "relay.left_out",
        "WARNING",
        "position",
        "A lost topic is filled again without an event that cannot be read; projections park it.",
        "Discard the event where it is parked.",
    )
    PROJECTION_RETRYING = (
        "projection.retrying",
        "WARNING",
        "projection seconds error",
        "A batch failed and is retried in `seconds`.",
        "If it persists, read `error`.",
    )
    PROJECTION_PARKED = (
        "projection.parked",
        "WARNING",
        "projection position key error at",
        "An event was parked; later events of its key wait behind it.",
        "Fix the cause, then `faust -A app parked retry`.",
    )
    PROJECTION_DISCARDED = (
        "projection.discarded",
        "WARNING",
        "projection position type source id key by reason",
        "An operator discarded a parked event.",
    )
    PROJECTION_STALLED = (
        "projection.stalled",
        "ERROR",
        "projection seconds positions",
        "A projection has not moved for `seconds` and is restarted. `positions`: the last position by partition.",
        "If the worker exits, read its last line, and restart it.",
    )

    MQTT_CONNECTED = ("mqtt.connected", "INFO", "broker client_id", "Device messages are received.")
    MQTT_UNAVAILABLE = (
        "mqtt.unavailable",
        "WARNING",
        "broker error",
        "The MQTT broker does not answer: no device messages until it does.",
        "Check the broker and `MQTT_URL`.",
    )
    MQTT_DISCONNECTED = (
        "mqtt.disconnected",
        "WARNING",
        "broker reason",
        "The connection to the MQTT broker ended; it is opened again.",
        "If it repeats, read the log of the broker.",
    )
    MQTT_REFUSED = (
        "mqtt.refused",
        "WARNING",
        "broker reason",
        "The MQTT broker refuses the subscription.",
        "Check the permissions of the user in `MQTT_URL`.",
    )
    MQTT_HELD = (
        "mqtt.held",
        "WARNING",
        "error",
        "Device messages are held unacknowledged: they cannot be stored now.",
        WAIT,
    )
    MQTT_ANSWERS_DROPPED = (
        "mqtt.answers_dropped",
        "WARNING",
        "broker error",
        "Some answers to devices were dropped: the MQTT broker reads too slowly, or an answer cannot be published.",
        "Check the load of the broker.",
    )

    REQUEST_FAILED = (
        "request.failed",
        "ERROR",
        "method path instance",
        "A request failed unexpectedly and got 500; the response has the same `instance`.",
        "Report the traceback.",
    )
    RESPONSE_BROKEN = (
        "response.broken",
        "ERROR",
        "method path",
        "A response failed after it had begun; the connection was closed.",
        "Report the traceback.",
    )
    EVENT_UNREADABLE = (
        "event.unreadable",
        "ERROR",
        "",
        "Reading an event failed unexpectedly. It is refused, over MQTT as a dead letter; others are unaffected.",
        "Report the traceback.",
    )
    CONNECTIONS_LIMITED = (
        "connections.limited",
        "WARNING",
        "allowed connections wanted",
        "The process may not open enough files for `MAX_CONNECTIONS`.",
        "Raise `ulimit -n`, or lower `MAX_CONNECTIONS`.",
    )
    FED_BY_FAILED = (
        "projection.fed_by_failed",
        "WARNING",
        "projection key error",
        "The `fed_by` of a projection raised; the past state is folded from all events of its types.",
        "Fix `fed_by`.",
    )
    FEED_FAILED = (
        "feed.failed",
        "ERROR",
        "",
        "The change feeds failed unexpectedly; their clients reconnect and resume.",
        "Report the traceback.",
    )

    SERVER_FOUND = ("server.found", "INFO", "server pid", "An embedded server is already running, and is used.")
    SERVER_ENDED = (
        "server.ended",
        "WARNING",
        "server",
        "An embedded server ended and is restarted.",
        "If it repeats, read its log in `DATA_DIR`.",
    )
    SERVER_FAILED = (
        "server.failed",
        "ERROR",
        "server error",
        "An embedded server could not be restarted.",
        "Do what the line says.",
    )
    SERVER_RESTARTED = ("server.restarted", "INFO", "server", "An embedded server runs again.")
    FOLDER_OPENED = (
        "folder.opened",
        "INFO",
        "folder",
        "The worker runs as root, and PostgreSQL does not: all users may now pass through this folder.",
    )
    MQTT_TRIAL_BROKER = (
        "mqtt.trial_broker",
        "INFO",
        "",
        "mosquitto is not installed, and amqtt is used. It loses messages in flight when it is killed.",
        "Install mosquitto, except for a trial.",
    )
    DOWNLOAD_STARTED = ("download.started", "INFO", "name files megabytes folder", "A download started.")
    DOWNLOAD_FINISHED = ("download.finished", "INFO", "name", "The download finished.")
