-- Who did what (access_log), and who sent each event (received_by).

CREATE TABLE access_log (
    position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    request_id  text COLLATE "C",
    caller      text COLLATE "C" NOT NULL,
    caller_name text NOT NULL,
    address     text COLLATE "C",
    action      text COLLATE "C" NOT NULL,
    target      text NOT NULL,
    outcome     text COLLATE "C" NOT NULL,
    status      smallint,
    detail      jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE access_log IS 'Who did what: keys, refusals, operations, reads of logs. Rows are only inserted. It has no data of events and no secrets.';
COMMENT ON COLUMN access_log.position IS 'The order of the entries; numbers may be missing.';
COMMENT ON COLUMN access_log.at IS 'When it happened.';
COMMENT ON COLUMN access_log.request_id IS 'X-Request-Id of the request; NULL for a command.';
COMMENT ON COLUMN access_log.caller IS 'The id of the key, jwt: with the subject of a token, host: with the user of a command; empty where AUTH is off, and for a caller who was not authenticated.';
COMMENT ON COLUMN access_log.address IS 'Of the client; NULL for a command, and for refusals of several clients.';
COMMENT ON COLUMN access_log.action IS 'As headrace.access.access_log.Action names it.';
COMMENT ON COLUMN access_log.target IS 'What it was done to: a key, a projection, a path.';
COMMENT ON COLUMN access_log.outcome IS 'done, refused or failed.';
COMMENT ON COLUMN access_log.status IS 'The status of the answer; NULL for a command.';

CREATE INDEX access_log_by_caller ON access_log (caller, position);
CREATE INDEX access_log_by_action ON access_log (action, position);
CREATE INDEX access_log_by_time ON access_log (at);

CREATE FUNCTION access_log_refuses_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'access_log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER access_log_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON access_log
    FOR EACH STATEMENT EXECUTE FUNCTION access_log_refuses_change();
-- ALWAYS, so that session_replication_role cannot disable it.
ALTER TABLE access_log ENABLE ALWAYS TRIGGER access_log_is_append_only;
-- The services use the owner's role, which by default has more privileges than they need.
REVOKE UPDATE, DELETE, TRUNCATE ON access_log FROM PUBLIC, CURRENT_USER;

ALTER TABLE outbox ADD COLUMN received_by text COLLATE "C";
ALTER TABLE event_store ADD COLUMN received_by text COLLATE "C";
COMMENT ON COLUMN outbox.received_by IS 'Who sent the event: the id of a key, or jwt: with the subject of a token. NULL where AUTH is off, and for MQTT.';
COMMENT ON COLUMN event_store.received_by IS 'As in outbox. It is beside the event, not in it.';

-- As before, with the callers of the events: NULL for all of them, or a text or NULL for each.
CREATE FUNCTION outbox_accept_group(
    ids text[], sources text[], event_types text[], subjects text[], event_times text[], times_given boolean[],
    partition_keys text[], key_hashes bigint[], events json[], digests bytea[],
    callers text[]
) RETURNS TABLE (index bigint, same boolean) LANGUAGE plpgsql AS $$
DECLARE
    new_rows bigint[];
BEGIN
    WITH inserted AS (
        INSERT INTO outbox
            (id, source, event_type, subject, event_time, partition_key, key_hash, event, content_digest,
             received_by)
        SELECT g.id, g.source, g.event_type, g.subject, g.event_time::timestamptz, g.partition_key, g.key_hash, g.event,
               g.digest, g.caller
        FROM unnest(ids, sources, event_types, subjects, event_times, partition_keys, key_hashes, events, digests,
                    callers)
            WITH ORDINALITY
            AS g (id, source, event_type, subject, event_time, partition_key, key_hash, event, digest, caller, ord)
        ORDER BY g.ord
        ON CONFLICT (source, id) DO NOTHING
        RETURNING seq
    )
    SELECT coalesce(array_agg(seq), '{}') INTO new_rows FROM inserted;

    IF cardinality(new_rows) < cardinality(ids) THEN
        RETURN QUERY
        SELECT g.ord,
               CASE
                   WHEN waiting.content_digest = ''
                       THEN event_content_is_same(g.event::jsonb, waiting.event::jsonb, g.time_given)
                   WHEN waiting.content_digest = g.digest THEN true
               END
        FROM unnest(ids, sources, events, times_given, digests) WITH ORDINALITY
            AS g (id, source, event, time_given, digest, ord)
        JOIN outbox AS waiting ON waiting.source = g.source AND waiting.id = g.id
        WHERE waiting.seq <> ALL (new_rows);
    END IF;

    -- LATERAL with LIMIT keeps this a look-up by index however large the store is.
    RETURN QUERY
    SELECT g.ord,
           CASE
               WHEN stored.content_digest = '' THEN event_content_is_same(g.event::jsonb, stored.event, g.time_given)
               WHEN stored.content_digest = g.digest THEN true
           END
    FROM unnest(ids, sources, events, times_given, digests) WITH ORDINALITY
        AS g (id, source, event, time_given, digest, ord)
    CROSS JOIN LATERAL (
        SELECT s.event, s.content_digest FROM event_store AS s WHERE s.source = g.source AND s.id = g.id LIMIT 1
    ) AS stored;

    IF FOUND THEN
        DELETE FROM outbox
        WHERE seq = ANY (new_rows)
          AND EXISTS (SELECT FROM event_store AS s WHERE s.source = outbox.source AND s.id = outbox.id);
    END IF;
END
$$;

-- For workers of older versions, which do not know who sent an event.
CREATE OR REPLACE FUNCTION outbox_accept_group(
    ids text[], sources text[], event_types text[], subjects text[], event_times text[], times_given boolean[],
    partition_keys text[], key_hashes bigint[], events json[], digests bytea[]
) RETURNS TABLE (index bigint, same boolean) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    SELECT accepted.index, accepted.same
    FROM outbox_accept_group(
        ids, sources, event_types, subjects, event_times, times_given, partition_keys, key_hashes, events, digests, NULL
    ) AS accepted;
END
$$;
