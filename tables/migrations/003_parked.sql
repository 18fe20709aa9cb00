-- Parked events: their groups, the number of attempts, and the events that were discarded.

ALTER TABLE parked
    ADD COLUMN key_is_known boolean NOT NULL DEFAULT true,
    ADD COLUMN attempts integer NOT NULL DEFAULT 1 CHECK (attempts >= 0),
    ADD COLUMN tried_at timestamptz;
ALTER TABLE parked ALTER COLUMN key_is_known DROP DEFAULT, ALTER COLUMN attempts DROP DEFAULT;
UPDATE parked SET tried_at = parked_at;
UPDATE parked
SET key_is_known = false, key = coalesce(nullif(s.event ->> 'partitionkey', ''), s.subject, s.source)
FROM event_store AS s
WHERE parked.key = '' AND s.position = parked.position;
COMMENT ON COLUMN parked.key IS 'The key of the row that the event belongs to; where that could not be told, the event''s partition key.';
COMMENT ON COLUMN parked.key_is_known IS 'Whether key is the key of a row. If not, every later event of the partition key waits.';
COMMENT ON COLUMN parked.attempts IS 'How often it was tried; 0 for one that has only waited.';
COMMENT ON COLUMN parked.tried_at IS 'When it was tried last.';
COMMENT ON COLUMN parked.error IS 'What went wrong when it was tried last, or that an earlier event is parked.';

-- Indexes a hash of the key, because an event may be parked because its key is too long for an index.
DROP INDEX parked_by_key;
CREATE INDEX parked_in_order ON parked (projection, hashtextextended(key, 0), key_is_known, position);
CREATE INDEX parked_by_position ON parked (position);

CREATE TABLE discarded (
    projection   text COLLATE "C" NOT NULL,
    position     bigint NOT NULL,
    key          text NOT NULL,
    key_is_known boolean NOT NULL,
    error        text NOT NULL,
    reason       text NOT NULL,
    discarded_by text NOT NULL,
    parked_at    timestamptz NOT NULL,
    discarded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, position)
);
COMMENT ON TABLE discarded IS 'Events that were parked and that a projection shall go on without: its fold leaves them out.';
COMMENT ON COLUMN discarded.discarded_by IS 'Who asked for it: the user of the command, or the address of the caller of the API.';
CREATE INDEX discarded_by_position ON discarded (position);
