-- The lock of the trigger had the number of another lock, and belonged to the whole database. The table is locked until
-- the commit, so no transaction that called the old function runs beside one that calls the new.

-- ALWAYS, so that session_replication_role cannot disable it: readers of changes would miss what left.
ALTER TABLE parked ENABLE ALWAYS TRIGGER parked_tells_what_left;

-- The schema is named, because whoever deletes may have another search_path.
CREATE OR REPLACE FUNCTION parked_tells_what_left() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Held until the commit, so that a reader who has seen a number has seen all before it.
    PERFORM pg_advisory_xact_lock(852736005, TG_RELID::integer);
    EXECUTE format(
        'INSERT INTO %I.unparked (projection, position) SELECT projection, position FROM gone '
        'ORDER BY projection, position',
        TG_TABLE_SCHEMA
    );
    RETURN NULL;
END
$$;
