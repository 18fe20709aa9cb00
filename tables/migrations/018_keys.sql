-- API keys: who may send requests, and what they may touch.

CREATE TABLE api_keys (
    id           text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[0-9a-z]{12}$'),
    name         text COLLATE "C" NOT NULL CHECK (name <> ''),
    hash         bytea NOT NULL CHECK (octet_length(hash) = 32),
    scopes       text[] NOT NULL CHECK (cardinality(scopes) > 0),
    sources      text[] CHECK (cardinality(sources) > 0),
    subjects     text[] CHECK (cardinality(subjects) > 0),
    types        text[] CHECK (cardinality(types) > 0),
    certificate  text COLLATE "C",
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by   text NOT NULL,
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    last_used_at timestamptz
);
COMMENT ON TABLE api_keys IS 'API keys, also expired and revoked ones. Secrets are not stored. A rotated key is a new row with the same name.';
COMMENT ON COLUMN api_keys.id IS 'The public part of the key, between hr_ and the secret.';
COMMENT ON COLUMN api_keys.name IS 'Who uses the key, as whoever made it says; several keys of a name are live while one replaces another.';
COMMENT ON COLUMN api_keys.hash IS 'SHA-256 of the whole key.';
COMMENT ON COLUMN api_keys.scopes IS 'What the key may do: write, read, operate, audit, metrics, admin.';
COMMENT ON COLUMN api_keys.sources IS 'The sources that the key may touch: a prefix that ends in /, or an exact value. NULL: all.';
COMMENT ON COLUMN api_keys.subjects IS 'The same for subjects.';
COMMENT ON COLUMN api_keys.types IS 'The same for event types.';
COMMENT ON COLUMN api_keys.certificate IS 'A subject alternative name: a client with this certificate needs no bearer token. NULL: none.';
COMMENT ON COLUMN api_keys.created_by IS 'host:USER for the command, key:ID for a request.';
COMMENT ON COLUMN api_keys.expires_at IS 'From then on the key is refused; it is only ever made earlier, when the key is rotated.';
COMMENT ON COLUMN api_keys.last_used_at IS 'To the minute; NULL: never.';

CREATE INDEX api_keys_name ON api_keys (name);
-- A certificate names one key. That of a revoked key is free again.
CREATE UNIQUE INDEX api_keys_certificate ON api_keys (certificate) WHERE certificate IS NOT NULL AND revoked_at IS NULL;

-- What a key may do never changes, so that a log line with its id says what it could do. A revoked key stays revoked.
CREATE FUNCTION api_keys_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.name, NEW.hash, NEW.scopes, NEW.sources, NEW.subjects, NEW.types, NEW.created_at, NEW.created_by)
        IS DISTINCT FROM
       (OLD.id, OLD.name, OLD.hash, OLD.scopes, OLD.sources, OLD.subjects, OLD.types, OLD.created_at, OLD.created_by)
        OR NEW.expires_at > OLD.expires_at
        OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at)
    THEN
        RAISE EXCEPTION 'key % cannot be changed, except to end it earlier: rotate it, or create another', OLD.id
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER api_keys_do_not_change
    BEFORE UPDATE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION api_keys_refuse_change();

-- Workers keep keys in memory: they hear of each change, except of last_used_at. Channels belong to a database, which may
-- hold several installations: the payload says whose key it is.
CREATE FUNCTION api_keys_tell_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('headrace_keys', json_build_array(TG_TABLE_SCHEMA, coalesce(NEW.id, OLD.id))::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER api_keys_tell_change
    AFTER INSERT OR DELETE OR UPDATE OF expires_at, revoked_at, certificate ON api_keys
    FOR EACH ROW EXECUTE FUNCTION api_keys_tell_change();

-- Not even a session with session_replication_role = replica disables them.
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_do_not_change;
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_tell_change;
