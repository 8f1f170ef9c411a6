-- in steps
-- A partition for each month, so that retention drops months instead of deleting events.
--
-- The old table becomes the partition of all events until now. PostgreSQL must scan it to prove that no event in it is later.
-- If events were still added during the scan, the bound would have to be in the future, and after that moment an unfinished
-- migration would stop the broker. So new events go to new partitions first. Until the scan is done, which takes seconds for
-- a million events, the audit shows only the new events.

-- step
-- Events cannot be changed, and only retention deletes them, when they are at least a day old. The owner of the tables can
-- drop the triggers; docs/audit.md says how to prevent that.
DO $do$
BEGIN
  EXECUTE format($sql$
    -- Creates the partitions of this month and the next three, with the rights of the owner, because the login of the broker
    -- may not create tables. Unlike CREATE TABLE … PARTITION OF, ATTACH does not block writers of events.
    CREATE OR REPLACE FUNCTION make_audit_partitions() RETURNS integer
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp SET lock_timeout = '500ms' SET timezone = 'UTC' AS $$
    DECLARE
      month timestamptz;
      name text;
      first timestamptz;
      newest timestamptz;
      made integer := 0;
    BEGIN
      IF NOT pg_try_advisory_xact_lock(hashtext('osb-audit-partitions'), hashtext(current_schema())) THEN
        RETURN 0;
      END IF;
      FOR ahead IN 0..3 LOOP
        month := date_trunc('month', clock_timestamp()) + ahead * interval '1 month';
        name := 'audit_events_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        SELECT greatest(month, max(audit_partition_end(partition.oid))) INTO first FROM pg_class AS partition
        WHERE partition.oid = to_regclass('audit_events_before');
        -- Events that were written without a partition stay in the default partition.
        SELECT max(at) INTO newest FROM audit_events_other WHERE at >= month AND at < month + interval '1 month';
        first := greatest(first, date_trunc('hour', newest) + interval '2 hours');
        CONTINUE WHEN first >= month + interval '1 month';
        EXECUTE format('CREATE TABLE %%I (LIKE audit_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
        EXECUTE format('CREATE TRIGGER audit_truncated BEFORE TRUNCATE ON %%I
          FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()', name);
        EXECUTE format('ALTER TABLE audit_events ATTACH PARTITION %%I FOR VALUES FROM (%%L) TO (%%L)',
          name, first, month + interval '1 month');
        made := made + 1;
      END LOOP;
      RETURN made;
    END
    $$ $sql$, current_schema());

  -- The end of the range of a partition. Until the old table is a partition, its constraint has the end.
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION audit_partition_end(partition oid) RETURNS timestamptz
      LANGUAGE sql STABLE SET search_path = %1$I, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
      SELECT coalesce(
        (SELECT substring(pg_get_expr(relpartbound, oid) FROM ' TO \(''([^'']+)''\)')::timestamptz
          FROM pg_class WHERE oid = partition),
        (SELECT substring(pg_get_constraintdef(oid) FROM '''([^'']+)''')::timestamptz
          FROM pg_constraint WHERE conrelid = partition AND conname = 'audit_events_before_end')
      )
    $$ $sql$, current_schema());

  -- Drops the first month with events that is past the retention. If there is none, it deletes up to the given number of
  -- events of the month in which the retention ends. A month that another session reads, such as pg_dump, is left for later.
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION forget_audit_events(days_to_keep integer, rows_at_most integer) RETURNS bigint
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp SET lock_timeout = '500ms' AS $$
    DECLARE
      kept_from timestamptz := clock_timestamp() - make_interval(days => days_to_keep);
      partition record;
      events bigint;
      forgotten bigint := 0;
      room bigint := rows_at_most;
      in_use boolean := false;
    BEGIN
      IF days_to_keep IS NULL OR days_to_keep < 1 THEN
        RAISE EXCEPTION 'audit events are kept for a day at least, not %%', coalesce(days_to_keep::text, 'null')
          USING ERRCODE = 'invalid_parameter_value';
      END IF;
      IF NOT pg_try_advisory_xact_lock(hashtext('osb-audit-partitions'), hashtext(current_schema())) THEN
        RETURN 0;
      END IF;
      PERFORM set_config('osb.audit_days', days_to_keep::text, true);
      FOR partition IN
        SELECT inhrelid AS id, inhrelid::regclass AS name, audit_partition_end(inhrelid) <= kept_from AS over
        FROM pg_inherits WHERE inhparent = 'audit_events'::regclass ORDER BY audit_partition_end(inhrelid)
      LOOP
        IF partition.over THEN
          -- Writers of events wait as long as the DROP does, so one failed try is enough.
          CONTINUE WHEN in_use;
          -- An exact number if counting is quick, otherwise the estimate of ANALYZE.
          EXECUTE format('SELECT count(*) FROM (SELECT FROM %%s LIMIT 100000) AS counted', partition.name) INTO events;
          IF events = 100000 THEN
            SELECT greatest(events, reltuples::bigint) INTO events FROM pg_class WHERE oid = partition.id;
          END IF;
          BEGIN
            EXECUTE format('DROP TABLE %%s', partition.name);
            forgotten := forgotten + events;
            -- The DROP keeps writers waiting until the transaction ends, so the next month has a transaction of its own.
            IF events > 0 THEN
              PERFORM set_config('osb.audit_days', '', true);
              RETURN forgotten;
            END IF;
          EXCEPTION WHEN lock_not_available THEN
            in_use := true;
          END;
        ELSE
          EXECUTE format('DELETE FROM %%1$s WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM %%1$s WHERE at < $1 ORDER BY at, event_id LIMIT $2 FOR UPDATE SKIP LOCKED))', partition.name)
          USING kept_from, room;
          GET DIAGNOSTICS events = ROW_COUNT;
          forgotten := forgotten + events;
          room := room - events;
        END IF;
      END LOOP;
      PERFORM set_config('osb.audit_days', '', true);
      RETURN forgotten;
    END
    $$ $sql$, current_schema());
END
$do$;

-- step
DO $$
DECLARE
  boundary timestamptz;
  newest_id bigint;
  entry record;
BEGIN
  IF (SELECT relkind FROM pg_class WHERE oid = 'audit_events'::regclass) = 'p' THEN
    RETURN;
  END IF;
  LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE;
  SELECT greatest(clock_timestamp(), max(at)) + interval '1 microsecond' INTO boundary FROM audit_events;
  newest_id := coalesce(pg_sequence_last_value(pg_get_serial_sequence('audit_events', 'event_id')::regclass), 0);

  ALTER TABLE audit_events ALTER COLUMN event_id DROP IDENTITY;
  ALTER TABLE audit_events RENAME TO audit_events_before;
  ALTER INDEX audit_events_pkey RENAME TO audit_events_before_pkey;
  ALTER INDEX audit_events_at RENAME TO audit_events_before_at;
  ALTER INDEX audit_events_instance RENAME TO audit_events_before_instance;
  EXECUTE format('ALTER TABLE audit_events_before ADD CONSTRAINT audit_events_before_end CHECK (at < %L) NOT VALID', boundary);

  -- A separate sequence, because partitioned tables have no identity columns before PostgreSQL 17. Any role may use it, as
  -- with an identity column.
  EXECUTE format('CREATE SEQUENCE audit_events_ids START %s', newest_id + 1);
  CREATE TABLE audit_events (LIKE audit_events_before INCLUDING DEFAULTS) PARTITION BY RANGE (at);
  ALTER TABLE audit_events ALTER COLUMN event_id SET DEFAULT nextval('audit_events_ids');
  ALTER SEQUENCE audit_events_ids OWNED BY audit_events.event_id;
  GRANT USAGE ON SEQUENCE audit_events_ids TO PUBLIC;
  ALTER TABLE audit_events
    ADD CONSTRAINT audit_events_action_check
      CHECK (action IN ('provision', 'update', 'deprovision', 'bind', 'unbind', 'repair')),
    ADD CONSTRAINT audit_events_phase_check CHECK (phase IN ('started', 'succeeded', 'failed', 'halted'));
  CREATE INDEX audit_events_at ON audit_events (at, event_id);
  CREATE INDEX audit_events_instance ON audit_events (instance_id, at, event_id);
  CREATE INDEX audit_events_platform ON audit_events (platform, at, event_id);
  CREATE INDEX audit_events_request ON audit_events (request_identity, at, event_id) WHERE request_identity IS NOT NULL;
  CREATE INDEX audit_events_identity ON audit_events (jsonb_hash_extended(originating_identity, 0), at, event_id)
    WHERE originating_identity IS NOT NULL;

  -- Each partition inherits the row triggers, which also apply to statements on the partition itself.
  CREATE TRIGGER audit_changed BEFORE UPDATE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
  CREATE TRIGGER audit_row_updated BEFORE UPDATE ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
  CREATE TRIGGER audit_row_deleted BEFORE DELETE ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
  COMMENT ON TABLE audit_events IS 'Append-only. Retention: SELECT forget_audit_events(days_to_keep, rows_at_most)';

  -- The default partition, for events without the partition of their month.
  CREATE TABLE audit_events_other PARTITION OF audit_events DEFAULT;
  CREATE TRIGGER audit_truncated BEFORE TRUNCATE ON audit_events_other
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
  PERFORM make_audit_partitions();

  FOR entry IN
    SELECT DISTINCT acl.grantee::regrole AS role, acl.privilege_type AS right
    FROM pg_class AS held, aclexplode(held.relacl) AS acl
    WHERE held.oid = 'audit_events_before'::regclass AND acl.grantee NOT IN (0, held.relowner)
  LOOP
    EXECUTE format('GRANT %s ON audit_events TO %s', entry.right, entry.role);
  END LOOP;
END
$$;

-- step
ALTER TABLE audit_events_before VALIDATE CONSTRAINT audit_events_before_end;

-- step
DO $$
DECLARE
  boundary timestamptz := audit_partition_end('audit_events_before'::regclass);
BEGIN
  IF (SELECT relispartition FROM pg_class WHERE oid = 'audit_events_before'::regclass) THEN
    RETURN;
  END IF;
  -- The clock of the server may have been set back since then.
  IF EXISTS (SELECT FROM audit_events_other WHERE at < boundary) THEN
    ALTER TABLE audit_events_other DISABLE TRIGGER USER;
    WITH earlier AS (DELETE FROM audit_events_other WHERE at < boundary RETURNING *)
    INSERT INTO audit_events_before SELECT * FROM earlier;
    ALTER TABLE audit_events_other ENABLE TRIGGER USER;
  END IF;
  EXECUTE format('ALTER TABLE audit_events ATTACH PARTITION audit_events_before FOR VALUES FROM (MINVALUE) TO (%L)', boundary);
  CREATE OR REPLACE TRIGGER audit_truncated BEFORE TRUNCATE ON audit_events_before
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
  DROP TRIGGER IF EXISTS audit_events_append_only ON audit_events_before;
  DROP TRIGGER IF EXISTS audit_events_retention ON audit_events_before;
END
$$;
