-- When the broker itself revoked the credentials of a binding that had expired.
ALTER TABLE service_bindings ADD COLUMN revoked_at timestamptz;

-- What the sweep of expired bindings looks for.
CREATE INDEX service_bindings_expires_at ON service_bindings (expires_at)
  WHERE expires_at IS NOT NULL AND revoked_at IS NULL;

-- The operations of an instance and of all its bindings, newest first.
CREATE INDEX operations_of_instance ON operations (instance_id, seq DESC) WHERE NOT internal;
