-- in steps
-- The audit gets the action `guard`: a provider ended sessions of a tenant, or suspended a login, to protect others.

-- step
-- The new constraint allows more than the old one, so this step checks no event.
DO $$
BEGIN
  IF EXISTS (
    SELECT FROM pg_constraint WHERE conrelid = 'audit_events'::regclass AND conname = 'audit_events_action_check'
      AND pg_get_constraintdef(oid) LIKE '%guard%'
  ) THEN
    RETURN;
  END IF;
  ALTER TABLE audit_events
    DROP CONSTRAINT audit_events_action_check,
    ADD CONSTRAINT audit_events_action_check
      CHECK (action IN ('provision', 'update', 'deprovision', 'bind', 'unbind', 'repair', 'guard')) NOT VALID;
END
$$;

-- step
ALTER TABLE audit_events VALIDATE CONSTRAINT audit_events_action_check;
