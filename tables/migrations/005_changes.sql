-- For readers of changes, beside the rows: rebuilds of a projection, and changes that the progress does not show.

ALTER TABLE progress ADD COLUMN life bigint GENERATED ALWAYS AS IDENTITY;
COMMENT ON COLUMN progress.life IS 'Another number each time the row is made anew: a projection that was computed anew is known by the least of its rows.';

CREATE TABLE unparked (
    projection text COLLATE "C" NOT NULL,
    number     bigint GENERATED ALWAYS AS IDENTITY,
    position   bigint NOT NULL,
    PRIMARY KEY (projection, number)
);
COMMENT ON TABLE unparked IS 'Events that were parked and are not any more: applied later than their place in the order, or discarded. Readers of changes look here.';
COMMENT ON COLUMN unparked.number IS 'In the order of commits.';

CREATE FUNCTION parked_tells_what_left() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Held until the commit, so that a reader who has seen a number has seen all before it.
    PERFORM pg_advisory_xact_lock(4852736004);
    INSERT INTO unparked (projection, position) SELECT projection, position FROM gone ORDER BY projection, position;
    RETURN NULL;
END
$$;
CREATE TRIGGER parked_tells_what_left
    AFTER DELETE ON parked REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION parked_tells_what_left();
