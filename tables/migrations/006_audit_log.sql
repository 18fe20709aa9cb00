-- For the audit log and earlier states of a row (as_of). Each index costs the relay some µs of CPU for each event. So
-- there is none on source: the unique (source, id) serves a rare source, a scan by position a frequent one.

CREATE INDEX event_store_by_subject ON event_store (subject, position);
CREATE INDEX event_store_by_type ON event_store (event_type, position);
CREATE INDEX event_store_by_time ON event_store (event_time, position);
