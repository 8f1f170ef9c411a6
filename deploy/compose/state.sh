#!/bin/sh
# Run once by the image of PostgreSQL, on an empty volume: the database of the broker's own state, and its owner.
set -eu
psql --set ON_ERROR_STOP=1 --username postgres --dbname postgres --set "password=$STATE_PASSWORD" <<'SQL'
CREATE ROLE broker LOGIN PASSWORD :'password';
CREATE DATABASE osb_state OWNER broker;
REVOKE CONNECT, TEMPORARY ON DATABASE osb_state FROM PUBLIC;
SQL
