-- in steps
-- Indexes for `osb audit` by platform, request and user, and a constraint that the next migration needs.

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_events_before_platform ON :schema.audit_events (platform, at, event_id);

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_events_before_request ON :schema.audit_events (request_identity, at, event_id)
  WHERE request_identity IS NOT NULL;

-- step
-- A hash, because an identity can be longer than an index entry may be.
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_events_before_identity
  ON :schema.audit_events (jsonb_hash_extended(originating_identity, 0), at, event_id)
  WHERE originating_identity IS NOT NULL;

-- step
-- The constraint was added without checking the events of that time.
ALTER TABLE audit_events VALIDATE CONSTRAINT audit_events_action_check;
