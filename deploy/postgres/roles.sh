#!/bin/sh
# Runs once, when the volume is empty, as the superuser: makes the owner of the tables, its database, and a user for each
# service. No service connects as the superuser or as the owner. docs/roles.md describes the roles.
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv owner OWNER_PASSWORD
\getenv ingestion INGESTION_PASSWORD
\getenv relay RELAY_PASSWORD
\getenv event_handler EVENT_HANDLER_PASSWORD
\getenv query QUERY_PASSWORD
\getenv operation OPERATION_PASSWORD
CREATE ROLE headrace_owner LOGIN PASSWORD :'owner';
CREATE DATABASE headrace OWNER headrace_owner;
-- What each may do is granted by: faust -A app migrate --roles
CREATE ROLE headrace_ingest NOLOGIN;
CREATE ROLE headrace_relay NOLOGIN;
CREATE ROLE headrace_project NOLOGIN;
CREATE ROLE headrace_query NOLOGIN;
CREATE ROLE headrace_access NOLOGIN;
CREATE ROLE headrace_operate NOLOGIN;
CREATE ROLE headrace_administer NOLOGIN;
CREATE ROLE headrace_verify NOLOGIN;
CREATE ROLE ingestion LOGIN PASSWORD :'ingestion' IN ROLE headrace_ingest, headrace_access;
CREATE ROLE relay LOGIN PASSWORD :'relay' IN ROLE headrace_relay;
CREATE ROLE event_handler LOGIN PASSWORD :'event_handler' IN ROLE headrace_project, headrace_access;
CREATE ROLE query LOGIN PASSWORD :'query' IN ROLE headrace_query, headrace_access;
CREATE ROLE operation LOGIN PASSWORD :'operation' IN ROLE headrace_operate, headrace_administer;
SQL
