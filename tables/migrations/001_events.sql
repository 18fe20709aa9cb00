-- Accepted events (outbox), and all events permanently (event_store).

CREATE TABLE outbox (
    seq           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            text COLLATE "C" NOT NULL,
    source        text COLLATE "C" NOT NULL,
    event_type    text COLLATE "C" NOT NULL,
    subject       text COLLATE "C",
    event_time    timestamptz NOT NULL,
    partition_key text COLLATE "C" NOT NULL,
    key_hash      bigint NOT NULL,
    received_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    event         json NOT NULL,
    CONSTRAINT outbox_one_row_an_event UNIQUE (source, id),
    -- Accepted text must be storable: the relay's cast to jsonb must never be the first to fail.
    CONSTRAINT outbox_event_fits_jsonb CHECK (jsonb_typeof(event::jsonb) = 'object')
);
COMMENT ON TABLE outbox IS 'Accepted events that are not yet both stored and published. Rows are inserted and deleted, never updated.';
COMMENT ON COLUMN outbox.seq IS 'The order in which events were accepted; numbers may be missing.';
COMMENT ON COLUMN outbox.event IS 'The envelope as text, as it was accepted.';
COMMENT ON COLUMN outbox.partition_key IS 'The key of the Kafka record: extension partitionkey, else subject, else source.';
COMMENT ON COLUMN outbox.key_hash IS 'CRC-32 of partition_key in UTF-8; modulo the number of partitions it is the partition.';

-- Rows are inserted and deleted constantly: vacuum often, so that the indexes have few dead entries.
ALTER TABLE outbox SET (
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE event_store (
    position    bigint PRIMARY KEY CHECK (position > 0),
    id          text COLLATE "C" NOT NULL,
    source      text COLLATE "C" NOT NULL,
    event_type  text COLLATE "C" NOT NULL,
    subject     text COLLATE "C",
    event_time  timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    partition   integer NOT NULL,
    event       jsonb NOT NULL,
    CONSTRAINT event_store_one_row_an_event UNIQUE (source, id)
);
COMMENT ON TABLE event_store IS 'Every event, for good. Append-only; written by the one active relay.';
COMMENT ON COLUMN event_store.position IS '1, 2, 3, … without gaps, in the order of commits.';
COMMENT ON COLUMN event_store.received_at IS 'When the door took the event.';
COMMENT ON COLUMN event_store.recorded_at IS 'When the relay stored it.';
COMMENT ON COLUMN event_store.partition IS 'The partition of the topic that it is published to.';
COMMENT ON COLUMN event_store.event IS 'The whole envelope.';

CREATE FUNCTION event_store_refuses_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'event_store is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER event_store_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON event_store
    FOR EACH STATEMENT EXECUTE FUNCTION event_store_refuses_change();
-- ALWAYS, so that session_replication_role cannot disable it.
ALTER TABLE event_store ENABLE ALWAYS TRIGGER event_store_is_append_only;
-- The services use the owner's role, which by default has more privileges than they need.
REVOKE UPDATE, DELETE, TRUNCATE ON event_store FROM PUBLIC, CURRENT_USER;

CREATE TABLE relay_state (
    is_one_row    boolean PRIMARY KEY DEFAULT true CHECK (is_one_row),
    last_position bigint NOT NULL
);
COMMENT ON TABLE relay_state IS 'One row: the last position given out. A row, not a sequence, so that a rollback leaves no gap.';
INSERT INTO relay_state (last_position) VALUES (0);

CREATE TABLE topic_partitions (
    partition     integer PRIMARY KEY,
    last_position bigint NOT NULL
);
COMMENT ON TABLE topic_partitions IS 'The last position stored for each partition, so that an idle partition is not taken for a slow one.';

-- Accepts a group of events with unique (source, id). Returns a row for each event that is already
-- known: its index in the group (from 1), and whether its content is the same. If the sender gave no time, the time is
-- ignored. The steps are separate commands, so each sees all earlier commits (READ COMMITTED). Events move from the
-- outbox to the store, so an event that has left the outbox when it is queried is in the store by then.
CREATE FUNCTION outbox_accept(
    ids text[], sources text[], event_types text[], subjects text[], event_times text[], times_given boolean[],
    partition_keys text[], key_hashes bigint[], events json[]
) RETURNS TABLE (index bigint, same boolean) LANGUAGE plpgsql AS $$
DECLARE
    new_rows bigint[];
BEGIN
    WITH inserted AS (
        INSERT INTO outbox (id, source, event_type, subject, event_time, partition_key, key_hash, event)
        SELECT g.id, g.source, g.event_type, g.subject, g.event_time::timestamptz, g.partition_key, g.key_hash, g.event
        FROM unnest(ids, sources, event_types, subjects, event_times, partition_keys, key_hashes, events)
            WITH ORDINALITY
            AS g (id, source, event_type, subject, event_time, partition_key, key_hash, event, ord)
        ORDER BY g.ord
        ON CONFLICT (source, id) DO NOTHING
        RETURNING seq
    )
    SELECT coalesce(array_agg(seq), '{}') INTO new_rows FROM inserted;

    IF cardinality(new_rows) < cardinality(ids) THEN
        RETURN QUERY
        SELECT g.ord, event_content_is_same(g.event::jsonb, waiting.event::jsonb, g.time_given)
        FROM unnest(ids, sources, events, times_given) WITH ORDINALITY AS g (id, source, event, time_given, ord)
        JOIN outbox AS waiting ON waiting.source = g.source AND waiting.id = g.id
        WHERE waiting.seq <> ALL (new_rows);
    END IF;

    -- LATERAL with LIMIT keeps this a look-up by index however large the store is.
    RETURN QUERY
    SELECT g.ord, event_content_is_same(g.event::jsonb, stored.event, g.time_given)
    FROM unnest(ids, sources, events, times_given) WITH ORDINALITY AS g (id, source, event, time_given, ord)
    CROSS JOIN LATERAL (
        SELECT s.event FROM event_store AS s WHERE s.source = g.source AND s.id = g.id LIMIT 1
    ) AS stored;

    IF FOUND THEN
        DELETE FROM outbox
        WHERE seq = ANY (new_rows)
          AND EXISTS (SELECT FROM event_store AS s WHERE s.source = outbox.source AND s.id = outbox.id);
    END IF;
END
$$;

CREATE FUNCTION event_content_is_same(sent jsonb, known jsonb, time_given boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN time_given THEN sent = known ELSE sent - 'time' = known - 'time' END
$$;
