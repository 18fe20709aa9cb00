-- Whose records are on the topic, and which of them belong to this state of the database.

CREATE TABLE installation (
    is_one_row boolean PRIMARY KEY DEFAULT true CHECK (is_one_row),
    id         bytea NOT NULL CHECK (octet_length(id) = 8),
    secret     bytea NOT NULL CHECK (octet_length(secret) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE installation IS 'One row: what distinguishes the records of this database. The secret signs them.';
-- gen_random_uuid() is the source of strong random bytes that needs no extension.
INSERT INTO installation (id, secret)
SELECT substring(uuid_send(gen_random_uuid()) FROM 9), uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());

CREATE TABLE epochs (
    number         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             bigint NOT NULL UNIQUE,
    after_position bigint NOT NULL,
    opened_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE epochs IS 'The sessions of the relay. A record on the topic is genuine if its epoch is here and no later epoch begins before its position.';
COMMENT ON COLUMN epochs.id IS 'Random: a database that is restored twice must not give one id to two futures.';
COMMENT ON COLUMN epochs.after_position IS 'The last position of the event store when the epoch was opened.';

ALTER TABLE relay_state ADD COLUMN epoch bigint;
COMMENT ON COLUMN relay_state.epoch IS 'The id of the last epoch: projectors check it whenever they write.';
WITH opened AS (
    INSERT INTO epochs (id, after_position)
    SELECT ('x' || substr(md5(gen_random_uuid()::text), 1, 15))::bit(60)::bigint, last_position FROM relay_state
    RETURNING id
)
UPDATE relay_state SET epoch = opened.id FROM opened;
ALTER TABLE relay_state ALTER COLUMN epoch SET NOT NULL;

CREATE TABLE abandoned (
    epoch          bigint PRIMARY KEY,
    last_position  bigint NOT NULL,
    after_position bigint NOT NULL,
    found_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE abandoned IS 'Epochs of which the topic has events that the event store lacks: the database was restored from an older copy, or lost commits.';
COMMENT ON COLUMN abandoned.last_position IS 'The last position of the epoch that was seen on the topic.';
COMMENT ON COLUMN abandoned.after_position IS 'The last position of the event store when this was found.';
