-- in steps
-- What has begun since the last look for unfinished operations.

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS operations_unfinished ON :schema.operations (seq) WHERE state = 'in progress';

-- step
-- How far the order of operations has come. Whoever may read the operations may know.
DO $$
DECLARE
  reader regrole;
BEGIN
  FOR reader IN
    SELECT acl.grantee FROM pg_class AS held, aclexplode(held.relacl) AS acl
    WHERE held.oid = 'operations'::regclass AND acl.grantee NOT IN (0, held.relowner) AND acl.privilege_type = 'SELECT'
  LOOP
    EXECUTE format('GRANT SELECT ON SEQUENCE operations_seq_seq TO %s', reader);
  END LOOP;
END
$$;
