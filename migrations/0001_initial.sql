-- Applied with the broker's schema alone on the search_path, in one transaction (src/stores/postgres/migrate.ts).
-- Ids are COLLATE "C": they are compared, never sorted for people, and an index that follows the collations of the
-- operating system breaks when those change under it.

CREATE TABLE service_instances (
  instance_id text COLLATE "C" PRIMARY KEY,
  platform text NOT NULL,
  provider text NOT NULL,
  service_id text NOT NULL,
  plan_id text NOT NULL,
  organization_guid text NOT NULL,
  space_guid text NOT NULL,
  context jsonb NOT NULL,
  parameters jsonb NOT NULL,
  maintenance_version text,
  status text NOT NULL CHECK (status IN ('creating', 'ready', 'failed')),
  dashboard_url text,
  metadata jsonb,
  state text,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
COMMENT ON COLUMN service_instances.state IS 'Saved state of the provider: compact JWE, bound to this row and column';

CREATE TABLE service_bindings (
  instance_id text COLLATE "C" NOT NULL REFERENCES service_instances ON DELETE CASCADE,
  binding_id text COLLATE "C" NOT NULL,
  seq bigint GENERATED ALWAYS AS IDENTITY,
  platform text NOT NULL,
  service_id text NOT NULL,
  plan_id text NOT NULL,
  app_guid text,
  route text,
  context jsonb NOT NULL,
  parameters jsonb NOT NULL,
  predecessor_binding_id text,
  status text NOT NULL CHECK (status IN ('creating', 'ready', 'failed')),
  reply text,
  state text,
  expires_at timestamptz,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (instance_id, binding_id)
);
COMMENT ON COLUMN service_bindings.reply IS 'Answer of the bind, credentials included: compact JWE, bound to this row and column';
COMMENT ON COLUMN service_bindings.state IS 'Saved state of the provider: compact JWE, bound to this row and column';

-- Outlives its resource, because last_operation answers for days after a delete: no foreign key.
CREATE TABLE operations (
  operation_id text COLLATE "C" PRIMARY KEY,
  -- The clocks of replicas differ; the order of insertion does not.
  seq bigint GENERATED ALWAYS AS IDENTITY,
  kind text NOT NULL CHECK (kind IN ('provision', 'update', 'deprovision', 'bind', 'unbind')),
  platform text NOT NULL,
  instance_id text COLLATE "C" NOT NULL,
  binding_id text COLLATE "C" CHECK (binding_id <> ''),
  state text NOT NULL CHECK (state IN ('in progress', 'succeeded', 'failed')),
  async boolean NOT NULL,
  internal boolean NOT NULL,
  target jsonb,
  description text,
  failure jsonb,
  instance_usable boolean,
  update_repeatable boolean,
  attempt integer NOT NULL,
  lease_until timestamptz,
  halts text COLLATE "C",
  deadline timestamptz NOT NULL,
  originating_identity jsonb,
  request_identity text,
  created_at timestamptz NOT NULL,
  started_at timestamptz,
  finished_at timestamptz,
  CHECK ((state = 'in progress') = (finished_at IS NULL))
);

-- The guard against two operations at once on one resource. It also finds the unfinished operations of an instance,
-- and the abandoned ones: it holds only what runs. No index has lease_until, so that a heartbeat stays a HOT update.
CREATE UNIQUE INDEX operations_one_unfinished ON operations (instance_id, coalesce(binding_id, ''))
  WHERE state = 'in progress';
CREATE INDEX operations_latest ON operations (instance_id, coalesce(binding_id, ''), seq DESC) WHERE NOT internal;
CREATE INDEX operations_finished_at ON operations (finished_at) WHERE finished_at IS NOT NULL;

-- Who did what, when and how it ended. Append-only, and never a secret.
CREATE TABLE audit_events (
  event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  platform text NOT NULL,
  originating_identity jsonb,
  request_identity text,
  action text NOT NULL CHECK (action IN ('provision', 'update', 'deprovision', 'bind', 'unbind')),
  phase text NOT NULL CHECK (phase IN ('started', 'succeeded', 'failed', 'halted')),
  instance_id text COLLATE "C" NOT NULL,
  binding_id text COLLATE "C",
  operation_id text COLLATE "C" NOT NULL,
  description text
);
CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_instance ON audit_events (instance_id, event_id);
COMMENT ON TABLE audit_events IS 'Append-only. Retention: DELETE FROM audit_events WHERE at < now() - interval ''1 year''';

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR TRUNCATE ON audit_events
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
