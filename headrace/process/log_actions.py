"""The vocabulary of the log: what a line can report, at which level, with which fields.

What an action means, and what an operator does, is in `headrace.process.log_guide`. A test compares both with every log
call and with docs/logs.md.
"""

from __future__ import annotations

from enum import Enum


class LogAction(Enum):
    """What a line reports. Lines are found and counted by this name; their texts may change."""

    level: str
    fields: tuple[str, ...]
    """All that its lines may carry."""

    def __init__(self, _: str, level: str, fields: str) -> None:
        self.level, self.fields = level, tuple(fields.split())

    def __str__(self) -> str:
        return str(self.value[0])

    WORKER_STARTING = ("worker.starting", "INFO", "version python services database broker")
    SETTING_UNKNOWN = ("setting.unknown", "WARNING", "name meant")
    WORKER_STARTED = ("worker.started", "INFO", "services ingestion query health mqtt kafka topic")
    WORKER_WAITING = ("worker.waiting", "INFO", "missing")
    WORKER_STOPPING = ("worker.stopping", "INFO", "signal seconds")
    WORKER_STOPPED_LATE = ("worker.stopped_late", "ERROR", "seconds")
    WORKER_FAILED = ("worker.failed", "CRITICAL", "")
    WORKER_CRASHED = ("worker.crashed", "ERROR", "error")
    WORKER_UNFINISHED = ("worker.unfinished", "INFO", "task seconds")
    LIBRARY = ("library", "WARNING", "left_out")
    FAULT_ARMED = ("fault.armed", "WARNING", "faults")
    FAULT_INJECTED = ("fault.injected", "WARNING", "point fault passage")

    POSTGRES_UNAVAILABLE = ("postgres.unavailable", "WARNING", "task error request_id")
    ROLE_TOO_POWERFUL = ("postgres.role_too_powerful", "WARNING", "variable")
    MIGRATION_APPLIED = ("migration.applied", "INFO", "migration")
    INDEX_CREATED = ("index.created", "INFO", "projection field")
    INDEX_DROPPED = ("index.dropped", "INFO", "index")
    INDEX_MISSING = ("index.missing", "WARNING", "projection field")
    INDEX_FAILED = ("index.failed", "ERROR", "error")
    DISK_FULL = ("disk.full", "ERROR", "")
    DISK_FREED = ("disk.freed", "INFO", "")

    KAFKA_UNAVAILABLE = ("kafka.unavailable", "WARNING", "service broker error")
    KAFKA_FETCH_FAILED = ("kafka.fetch_failed", "WARNING", "error")
    KAFKA_COMMIT_FAILED = ("kafka.commit_failed", "WARNING", "error")
    KAFKA_GROUP_FAILED = ("kafka.group_failed", "WARNING", "error")
    PARTITIONS_ASSIGNED = ("partitions.assigned", "INFO", "topic partitions")
    TOPIC_TOO_SMALL = ("topic.too_small", "WARNING", "error")
    TOPIC_SETTING = ("topic.setting", "WARNING", "setting value needed")
    RECORD_SKIPPED = ("record.skipped", "WARNING", "partition error")
    RECORD_PASSED_OVER = ("record.passed_over", "WARNING", "partition reason installation position")
    EVENTS_UNDELIVERED = ("projection.undelivered", "WARNING", "projection partition position")
    PROJECTION_AHEAD = ("projection.ahead", "ERROR", "projection partition position last_position")
    TOPIC_AHEAD = ("relay.topic_ahead", "WARNING", "partition position last_position epoch")
    RELAY_ACTIVE = ("relay.active", "INFO", "")
    RELAY_DUPLICATE = ("relay.duplicate", "WARNING", "")
    RELAY_SET_ASIDE = ("relay.set_aside", "WARNING", "position partition size_bytes error")
    RELAY_REFILLED = ("relay.refilled", "WARNING", "count")

    RELAY_LEFT_OUT = ("relay.left_out", "WARNING", "position")
    PROJECTION_RETRYING = ("projection.retrying", "WARNING", "projection seconds error")
    PROJECTION_PARKED = ("projection.parked", "WARNING", "projection position key error at")
    PARKED_RETRY_FAILED = ("projection.retry_failed", "ERROR", "projection key")
    PROJECTION_DISCARDED = ("projection.discarded", "WARNING", "projection position type source id key by reason")
    PROJECTION_LEFT_OVER = ("projection.left_over", "WARNING", "projections")
    PROJECTION_STALLED = ("projection.stalled", "ERROR", "projection seconds positions")

    MQTT_CONNECTED = ("mqtt.connected", "INFO", "broker client_id")
    MQTT_UNAVAILABLE = ("mqtt.unavailable", "WARNING", "broker error")
    MQTT_DISCONNECTED = ("mqtt.disconnected", "WARNING", "broker reason")
    MQTT_REFUSED = ("mqtt.refused", "WARNING", "broker reason")
    MQTT_HELD = ("mqtt.held", "WARNING", "error")
    MQTT_ANSWERS_DROPPED = ("mqtt.answers_dropped", "WARNING", "broker error reason")

    REQUEST_FAILED = ("request.failed", "ERROR", "method path request_id")
    RESPONSE_BROKEN = ("response.broken", "ERROR", "method path request_id")
    ACCESS_LOG_LOST = ("access.log_lost", "ERROR", "count")
    ACCESS_LOG_FAILED = ("access.log_failed", "ERROR", "")
    EVENT_UNREADABLE = ("event.unreadable", "ERROR", "")
    HEALTH_UNSERVED = ("health.unserved", "WARNING", "host port error")
    CONNECTIONS_LIMITED = ("connections.limited", "WARNING", "allowed connections wanted")
    TLS_REFUSED = ("tls.refused", "WARNING", "service error")
    TLS_RELOADED = ("tls.reloaded", "INFO", "service file expires")
    TLS_KEPT = ("tls.kept", "WARNING", "service error")
    TLS_EXPIRES = ("tls.expires", "WARNING", "setting file error expires")
    TLS_KEY_OPEN = ("tls.key_open", "WARNING", "setting file")
    FED_BY_FAILED = ("projection.fed_by_failed", "WARNING", "projection key error")
    FEED_FAILED = ("feed.failed", "ERROR", "")

    TOKEN_KEYS_READ = ("token.keys_read", "INFO", "source keys")
    TOKEN_KEYS_IGNORED = ("token.keys_ignored", "WARNING", "source reason")
    TOKEN_KEYS_UNAVAILABLE = ("token.keys_unavailable", "WARNING", "source error")
    TOKEN_REFUSED = ("token.refused", "WARNING", "reason")

    SERVER_FOUND = ("server.found", "INFO", "server pid")
    SERVER_ENDED = ("server.ended", "WARNING", "server")
    SERVER_FAILED = ("server.failed", "ERROR", "server error")
    SERVER_RESTARTED = ("server.restarted", "INFO", "server")
    FOLDER_OPENED = ("folder.opened", "INFO", "folder")
    MQTT_TRIAL_BROKER = ("mqtt.trial_broker", "INFO", "")
    DOWNLOAD_STARTED = ("download.started", "INFO", "name files megabytes folder")
    DOWNLOAD_FINISHED = ("download.finished", "INFO", "name")
