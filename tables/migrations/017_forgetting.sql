-- Projections whose removal by `forget` has begun. Until it is finished, no event handler starts them: the rows that are
-- left would be counted twice.

CREATE TABLE forgetting (
    projection text COLLATE "C" PRIMARY KEY,
    began_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE forgetting IS 'Projections that are being removed; empty unless faust -A app forget runs or was interrupted.';

-- lock_not_available: event handlers retry, and say why. The schema is that of the table, because whoever inserts may have
-- another search_path.
CREATE FUNCTION progress_is_not_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_forgotten boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %I.forgetting WHERE projection = $1)', TG_TABLE_SCHEMA)
        INTO is_forgotten USING NEW.projection;
    IF is_forgotten THEN
        RAISE EXCEPTION 'projection % is being removed; if that was interrupted, run faust -A app forget % to finish it',
            NEW.projection, NEW.projection USING ERRCODE = 'lock_not_available';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER progress_is_not_forgotten
    BEFORE INSERT ON progress
    FOR EACH ROW EXECUTE FUNCTION progress_is_not_forgotten();
-- Not even a session with session_replication_role = replica disables it.
ALTER TABLE progress ENABLE ALWAYS TRIGGER progress_is_not_forgotten;
