-- The store as an audit log, and what a row was (as_of). Each index costs the relay some µs of CPU an event, so there
-- is none on source: the unique (source, id) finds a rare one, the order of position a frequent one.

CREATE INDEX event_store_by_subject ON event_store (subject, position);
CREATE INDEX event_store_by_type ON event_store (event_type, position);
CREATE INDEX event_store_by_time ON event_store (event_time, position);
