-- Where in the code a parked event failed.

ALTER TABLE parked ADD COLUMN traceback text;
COMMENT ON COLUMN parked.traceback IS 'Files, lines and functions in which it failed, the innermost last; null where no code of a projection raised.';
