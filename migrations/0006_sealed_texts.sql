-- Credentials of plans that keep none, while they wait for the first fetch.
ALTER TABLE service_bindings ADD COLUMN undelivered text, ADD COLUMN undelivered_until timestamptz,
  ADD CHECK ((undelivered IS NULL) = (undelivered_until IS NULL));
COMMENT ON COLUMN service_bindings.undelivered IS 'Credentials until the first fetch: compact JWE, bound to this row and column';

-- What the sweep of credentials that nobody fetched looks for.
CREATE INDEX service_bindings_undelivered_until ON service_bindings (undelivered_until)
  WHERE undelivered_until IS NOT NULL;

-- Of which key an encrypted text is: the kid in the header of a compact JWE, '' when it is none. The header begins with
-- alg, enc and kid, of which 105 bytes are more than enough.
CREATE FUNCTION sealed_kid(sealed text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN sealed IS NULL THEN NULL
    WHEN left(sealed, 140) ~ '^[A-Za-z0-9_-]+(\.|$)' THEN coalesce(substring(
      encode(decode(rpad(translate(split_part(left(sealed, 140), '.', 1), '-_', '+/'), 140, 'A'), 'base64'), 'escape')
      from '"kid":"([A-Za-z0-9._-]+)"'), '')
    ELSE ''
  END
$$;

-- Which keys are in use can be asked at every start, however many rows there are.
CREATE INDEX service_instances_state_kid ON service_instances (sealed_kid(state) COLLATE "C") WHERE state IS NOT NULL;
CREATE INDEX service_bindings_state_kid ON service_bindings (sealed_kid(state) COLLATE "C") WHERE state IS NOT NULL;
CREATE INDEX service_bindings_reply_kid ON service_bindings (sealed_kid(reply) COLLATE "C") WHERE reply IS NOT NULL;
CREATE INDEX service_bindings_undelivered_kid ON service_bindings (sealed_kid(undelivered) COLLATE "C")
  WHERE undelivered IS NOT NULL;
