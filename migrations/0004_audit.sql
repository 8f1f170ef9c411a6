-- What a reader of the audit asks for beside who and when: on which plan, and whether the broker did it by itself.
ALTER TABLE audit_events
  ADD COLUMN service_id text,
  ADD COLUMN plan_id text,
  ADD COLUMN internal boolean NOT NULL DEFAULT false,
  -- A repair is no operation.
  ALTER COLUMN operation_id DROP NOT NULL,
  DROP CONSTRAINT audit_events_action_check,
  -- More is allowed than before, so what is there need not be read again.
  ADD CONSTRAINT audit_events_action_check
    CHECK (action IN ('provision', 'update', 'deprovision', 'bind', 'unbind', 'repair')) NOT VALID;

-- Read page by page, the newest last, from any time on: the time alone does not tell two events apart.
DROP INDEX audit_events_at, audit_events_instance;
CREATE INDEX audit_events_at ON audit_events (at, event_id);
CREATE INDEX audit_events_instance ON audit_events (instance_id, at, event_id);

COMMENT ON TABLE audit_events IS 'Append-only. Retention: SELECT forget_audit_events(days_to_keep, rows_at_most)';

-- Nothing is changed, and nothing is deleted but what retention gives up, which is at least a day old. Whoever owns the
-- table can drop the trigger: docs/audit.md says what to do about that.
CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  days_to_keep integer;
BEGIN
  IF TG_OP = 'DELETE' THEN
    days_to_keep := nullif(current_setting('osb.audit_days', true), '');
    IF days_to_keep >= 1 AND OLD.at < clock_timestamp() - make_interval(days => days_to_keep) THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_events_retention BEFORE DELETE ON audit_events
  FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();

-- The one way to delete, as the owner of the table: so a broker needs no right of its own to delete events.
CREATE FUNCTION forget_audit_events(days_to_keep integer, rows_at_most integer) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  forgotten bigint;
BEGIN
  IF days_to_keep IS NULL OR days_to_keep < 1 THEN
    RAISE EXCEPTION 'audit events are kept for a day at least, not %', coalesce(days_to_keep::text, 'null')
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM set_config('osb.audit_days', days_to_keep::text, true);
  DELETE FROM audit_events WHERE event_id IN (
    SELECT event_id FROM audit_events WHERE at < clock_timestamp() - make_interval(days => days_to_keep)
    ORDER BY at, event_id LIMIT rows_at_most FOR UPDATE SKIP LOCKED
  );
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  PERFORM set_config('osb.audit_days', '', true);
  RETURN forgotten;
END
$$;
REVOKE ALL ON FUNCTION forget_audit_events FROM PUBLIC;

-- Tables of the caller's session must not take the place of ours.
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION forget_audit_events SET search_path = %I, pg_temp', current_schema());
END
$$;
