"""What each action of the log means, and what an operator does. docs/logs.md is made from it (make docs)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from headrace.process.log_actions import LogAction

NOTHING = "Nothing."
WAIT = "Nothing; it is retried until it succeeds."


class Guide(NamedTuple):
    """What a line says to an operator."""

    meaning: str
    to_do: str = NOTHING


GUIDE: Mapping[LogAction, Guide] = {
    LogAction.WORKER_STARTING: Guide(
        "The worker starts: nothing that is checked first prevents it. The fields are what it works with."
    ),
    LogAction.SETTING_UNKNOWN: Guide(
        "A variable resembles a setting and is none, so it has no effect.", "Correct its name, or unset it."
    ),
    LogAction.WORKER_STARTED: Guide(
        "All chosen services work: an event that is posted now is visible at once. The fields are the services and "
        "their addresses."
    ),
    LogAction.WORKER_WAITING: Guide(
        "The worker is not up yet; `missing` names what does not work yet, and why. What works is served meanwhile.",
        "Nothing, unless it persists: read the lines before it.",
    ),
    LogAction.WORKER_STOPPING: Guide(
        "The worker stops, and keeps serving for `seconds`. `signal` is what it was sent; absent after a failure."
    ),
    LogAction.WORKER_STOPPED_LATE: Guide(
        "The worker did not stop in time and ended at once, with exit code 1. Nothing is lost.",
        "If it is so at each stop, raise `SHUTDOWN_SECONDS`; if that does not help, report it.",
    ),
    LogAction.WORKER_FAILED: Guide(
        "The worker cannot start, or cannot continue. In text format the line begins with `headrace:`.",
        "Do what the line says.",
    ),
    LogAction.WORKER_CRASHED: Guide(
        "A part of the worker failed unexpectedly; the worker exits.", "Report the traceback, and restart the worker."
    ),
    LogAction.WORKER_UNFINISHED: Guide("A task did not finish before the deadline of the stop. Nothing is lost."),
    LogAction.LIBRARY: Guide(
        "A line of a library, not of Headrace; `logger` is the library.", "Read the lines of Headrace next to it."
    ),
    LogAction.FAULT_ARMED: Guide("Fault injection is on.", "Unset `FAULT_POINTS` outside of tests."),
    LogAction.FAULT_INJECTED: Guide("A fault was injected.", "Unset `FAULT_POINTS` outside of tests."),
    LogAction.POSTGRES_UNAVAILABLE: Guide(
        "PostgreSQL does not answer; `task` waits for it. Requests get 503.", "Check PostgreSQL and `DATABASE_URL`."
    ),
    LogAction.ROLE_TOO_POWERFUL: Guide(
        "The role of this variable owns the event store or may become its owner, so a worker could alter it.",
        "Use a role for each service, see [roles.md](roles.md).",
    ),
    LogAction.MIGRATION_APPLIED: Guide("A migration was applied."),
    LogAction.INDEX_CREATED: Guide("The index on a field was created."),
    LogAction.INDEX_DROPPED: Guide("An index was dropped: its build did not finish, or it is no longer declared."),
    LogAction.INDEX_MISSING: Guide(
        "A declared index does not exist, and the worker's role may not create it; queries by its field are slow.",
        "Run `faust -A app migrate` as the owner of the tables.",
    ),
    LogAction.INDEX_FAILED: Guide(
        "A declared index cannot be created; queries by its field stay slow.",
        "Shorten the values of the field, or remove `indexed`.",
    ),
    LogAction.DISK_FULL: Guide(
        "The disk of PostgreSQL is full; no worker writes until it has space.", "Free disk space."
    ),
    LogAction.DISK_FREED: Guide("The disk of PostgreSQL has space again; writing resumes."),
    LogAction.KAFKA_UNAVAILABLE: Guide(
        "Kafka does not answer. Accepted events wait in the outbox, or projections wait for the topic.",
        "Check Kafka and `BROKER_URL`.",
    ),
    LogAction.KAFKA_FETCH_FAILED: Guide("A fetch from Kafka failed.", WAIT),
    LogAction.KAFKA_COMMIT_FAILED: Guide(
        "Offsets could not be committed. Events may be redelivered, and are applied once.", WAIT
    ),
    LogAction.KAFKA_GROUP_FAILED: Guide(
        "The event handler cannot join its consumer group.",
        "Check the other members of `CONSUMER_GROUP`, and its permissions.",
    ),
    LogAction.PARTITIONS_ASSIGNED: Guide(
        "A rebalance of the consumer group ended: the event handler fetches these partitions, or stands by."
    ),
    LogAction.TOPIC_TOO_SMALL: Guide(
        "The topic has fewer partitions than the events that are stored.",
        "Recreate the topic with at least as many partitions.",
    ),
    LogAction.TOPIC_SETTING: Guide(
        "A setting of the topic makes the broker refuse or remove events. They stay in the event store.",
        "Change the setting of the topic, as the line says.",
    ),
    LogAction.RECORD_SKIPPED: Guide(
        "A record on the topic is not an event of Headrace.", "Find out which other program writes to the topic."
    ),
    LogAction.RECORD_PASSED_OVER: Guide(
        "Records on the topic are not events of this database, as it is now. They are not applied.",
        "Do what the line says. Nothing is missing in the projections.",
    ),
    LogAction.EVENTS_UNDELIVERED: Guide(
        "The topic did not deliver events that are stored; they are read from the event store, some seconds later.",
        "Check Kafka, and that no other installation is in `CONSUMER_GROUP`.",
    ),
    LogAction.PROJECTION_AHEAD: Guide(
        "The progress of a projection is beyond the event store; new events up to it are not applied.",
        "Compute the projection from the start: see docs/restore.md.",
    ),
    LogAction.TOPIC_AHEAD: Guide(
        "The topic has events of this installation that the event store lacks, and they are passed over.",
        "The database was restored or lost commits: read docs/restore.md. Give a copy a `TOPIC` of its own.",
    ),
    LogAction.RELAY_ACTIVE: Guide("This worker publishes the outbox; other relays stand by."),
    LogAction.RELAY_DUPLICATE: Guide(
        "The outbox holds an event that is already stored; it is published again, and applied once."
    ),
    LogAction.RELAY_SET_ASIDE: Guide(
        "Kafka refuses an event. The topic lacks it; projections read it from the event store.",
        "Raise `max.message.bytes` of the topic, then `faust -A app unpublished retry`.",
    ),
    LogAction.RELAY_REFILLED: Guide(
        "The topic lacked events that were stored; they were published again.", "Find out why the topic lost them."
    ),
    LogAction.RELAY_LEFT_OUT: Guide(
        "A lost topic is filled again without an event that cannot be read; projections park it.",
        "Discard the event where it is parked.",
    ),
    LogAction.PROJECTION_RETRYING: Guide(
        "A batch failed and is retried in `seconds`.", "If it persists, read `error`."
    ),
    LogAction.PROJECTION_PARKED: Guide(
        "An event was parked; later events of its key wait behind it.",
        "Fix the cause, then `faust -A app parked retry`.",
    ),
    LogAction.PARKED_RETRY_FAILED: Guide(
        "A retry of the parked events of a key failed unexpectedly. They stay parked; other keys are retried.",
        "Report the traceback.",
    ),
    LogAction.PROJECTION_DISCARDED: Guide("An operator discarded a parked event."),
    LogAction.PROJECTION_LEFT_OVER: Guide(
        "The database has rows, parked events or progress of `projections` that this version does not have.",
        "If they were removed or renamed, and no older version runs, `faust -A app forget NAME`.",
    ),
    LogAction.PROJECTION_STALLED: Guide(
        "A projection has not moved for `seconds` and is restarted. `positions`: the last position by partition.",
        "If the worker exits, read its last line, and restart it.",
    ),
    LogAction.MQTT_CONNECTED: Guide("Device messages are received."),
    LogAction.MQTT_UNAVAILABLE: Guide(
        "The MQTT broker does not answer: no device messages until it does.", "Check the broker and `MQTT_URL`."
    ),
    LogAction.MQTT_DISCONNECTED: Guide(
        "The connection to the MQTT broker ended; it is opened again.", "If it repeats, read the log of the broker."
    ),
    LogAction.MQTT_REFUSED: Guide(
        "The MQTT broker refuses the subscription.", "Check the permissions of the user in `MQTT_URL`."
    ),
    LogAction.MQTT_HELD: Guide("Device messages are held unacknowledged: they cannot be stored now.", WAIT),
    LogAction.MQTT_ANSWERS_DROPPED: Guide(
        "Some answers to devices were dropped: the MQTT broker reads too slowly, or an answer cannot be published, "
        "or the broker does not allow it.",
        "Check the load of the broker, and its ACL: workers publish to `devices/#`.",
    ),
    LogAction.REQUEST_FAILED: Guide(
        "A request failed unexpectedly and got 500; the response has the same `request_id`.", "Report the traceback."
    ),
    LogAction.RESPONSE_BROKEN: Guide(
        "A response failed after it had begun; the connection was closed.", "Report the traceback."
    ),
    LogAction.ACCESS_LOG_LOST: Guide(
        "Entries of the access log (docs/access.md) were lost, because more waited than memory may hold.",
        "Check PostgreSQL.",
    ),
    LogAction.ACCESS_LOG_FAILED: Guide(
        "Entries of the access log cannot be written, and are lost.", "Report the traceback."
    ),
    LogAction.EVENT_UNREADABLE: Guide(
        "Reading or storing an event failed unexpectedly. It is refused; over MQTT it becomes a dead letter.",
        "Report the traceback.",
    ),
    LogAction.HEALTH_UNSERVED: Guide(
        "Another program has the port on which this worker would serve health and metrics; it works without.",
        "Set `HEALTH_PORT` to a free port.",
    ),
    LogAction.CONNECTIONS_LIMITED: Guide(
        "The process may not open enough files for `MAX_CONNECTIONS`.", "Raise `ulimit -n`, or lower `MAX_CONNECTIONS`."
    ),
    LogAction.TLS_REFUSED: Guide(
        "A TLS handshake failed: the client speaks plain HTTP or an old TLS, or its certificate is not accepted.",
        "If the client is yours, correct its address, its TLS or its certificate.",
    ),
    LogAction.TLS_RELOADED: Guide("The certificate of a port was loaded again; new connections get it."),
    LogAction.TLS_KEPT: Guide(
        "The files of a certificate changed and cannot be used. The last certificate stays in use.",
        "Do what the line says.",
    ),
    LogAction.TLS_EXPIRES: Guide(
        "A certificate expires within a week, has expired, or is not valid yet; logged once a day.",
        "Replace the files; no restart is needed.",
    ),
    LogAction.TLS_KEY_OPEN: Guide("Every user of the machine can read a private key.", "chmod 600 the file, or 640."),
    LogAction.FED_BY_FAILED: Guide(
        "The `fed_by` of a projection raised; the past state is folded from all events of its types.", "Fix `fed_by`."
    ),
    LogAction.FEED_FAILED: Guide(
        "The change feeds failed unexpectedly; their clients reconnect and resume.", "Report the traceback."
    ),
    LogAction.TOKEN_KEYS_READ: Guide("The keys that verify tokens were read, or have changed."),
    LogAction.TOKEN_KEYS_IGNORED: Guide(
        "Keys of the issuer verify no tokens, because something is wrong with them.", "Correct the key set."
    ),
    LogAction.TOKEN_KEYS_UNAVAILABLE: Guide(
        "The keys that verify tokens cannot be read. Known keys are used for 24 hours; without any, requests get 503.",
        "Check the issuer, `JWT_KEYS_URL`, `JWT_KEYS_FILE` and `JWT_KEYS_CA_FILE`.",
    ),
    LogAction.TOKEN_REFUSED: Guide(
        "A token is not valid; its request got 401.", "If its client is yours, correct what `reason` says."
    ),
    LogAction.SERVER_FOUND: Guide("An embedded server is already running, and is used."),
    LogAction.SERVER_ENDED: Guide(
        "An embedded server ended and is restarted.", "If it repeats, read its log in `DATA_DIR`."
    ),
    LogAction.SERVER_FAILED: Guide("An embedded server could not be restarted.", "Do what the line says."),
    LogAction.SERVER_RESTARTED: Guide("An embedded server runs again."),
    LogAction.FOLDER_OPENED: Guide(
        "The worker runs as root, and PostgreSQL does not: all users may now pass through this folder."
    ),
    LogAction.MQTT_TRIAL_BROKER: Guide(
        "mosquitto is not installed, and amqtt is used. It loses messages in flight when it is killed.",
        "Install mosquitto, except for a trial.",
    ),
    LogAction.DOWNLOAD_STARTED: Guide("A download started."),
    LogAction.DOWNLOAD_FINISHED: Guide("The download finished."),
}
