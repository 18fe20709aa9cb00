-- The rows that event handlers compute, and their progress.

CREATE TABLE projections (
    projection text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    state      jsonb NOT NULL,
    position   bigint NOT NULL,
    version    bigint NOT NULL CHECK (version > 0),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, key)
);
COMMENT ON TABLE projections IS 'The rows of every projection, each the fold of the events of its key.';
COMMENT ON COLUMN projections.position IS 'The position of the last event that changed the row.';
COMMENT ON COLUMN projections.version IS 'How many times the row was written: 1, 2, 3, …';
-- Leave space for new row versions on the same page (HOT updates).
ALTER TABLE projections SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE progress (
    projection text COLLATE "C" NOT NULL,
    partition  integer NOT NULL,
    position   bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, partition)
);
COMMENT ON TABLE progress IS 'Written in the transaction that writes the rows: an event at or below it is already applied.';
COMMENT ON COLUMN progress.position IS 'The position of the last event of the partition that the projection has applied.';
ALTER TABLE progress SET (fillfactor = 50);

CREATE TABLE parked (
    projection text COLLATE "C" NOT NULL,
    position   bigint NOT NULL,
    key        text NOT NULL,
    error      text NOT NULL,
    parked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, position)
);
COMMENT ON TABLE parked IS 'Events that a projection could not apply, and the later events of their keys, which wait behind them in order.';
COMMENT ON COLUMN parked.key IS 'The key of the row that the event belongs to; empty where the key itself could not be told.';
COMMENT ON COLUMN parked.error IS 'What went wrong, or that an earlier event of the key is parked.';
-- A hash index, because an event may be parked because its key is too long for a btree.
CREATE INDEX parked_by_key ON parked USING hash (key);

-- Aborts the statement that calls it, so that either all or nothing of it is done.
CREATE FUNCTION require_unchanged(unchanged boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT unchanged THEN
        RAISE EXCEPTION 'rows or progress have changed since they were read' USING ERRCODE = 'serialization_failure';
    END IF;
END
$$;
