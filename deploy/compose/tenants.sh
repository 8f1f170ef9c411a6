#!/bin/sh
# Run once by the image of PostgreSQL, on an empty volume: the broker's admin, who is no superuser (docs/postgresql.md).
set -eu
psql --set ON_ERROR_STOP=1 --username postgres --dbname postgres --set "password=$TENANTS_ADMIN_PASSWORD" <<'SQL'
CREATE ROLE broker_admin LOGIN CREATEDB CREATEROLE PASSWORD :'password';
REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO broker_admin;
GRANT pg_signal_backend, pg_use_reserved_connections TO broker_admin;
SQL
