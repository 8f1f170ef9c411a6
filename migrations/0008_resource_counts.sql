-- in steps
-- The numbers of instances and bindings, so that quotas, metrics and the check of a new catalog need not count rows.
--
-- Each writer adds a row of changes instead of updating a shared count, so that commits do not wait for each other. A sweep
-- folds the changes into the counts. A number is the sum of the count and the changes that are not folded yet; the
-- transaction ids of the changes show which ones are.

-- step
CREATE TABLE IF NOT EXISTS resource_counts (
  platform text COLLATE "C" NOT NULL,
  plan_id text COLLATE "C" NOT NULL,
  -- "place": an operation uses a place in the quota of the plan, in addition to the instances of the plan.
  resource text COLLATE "C" NOT NULL CHECK (resource IN ('instance', 'binding', 'place')),
  service_id text COLLATE "C" NOT NULL,
  -- The status of an instance or a binding; for a place, the kind of its operation.
  status text COLLATE "C" NOT NULL,
  count bigint NOT NULL,
  PRIMARY KEY (platform, plan_id, resource, service_id, status)
);
CREATE TABLE IF NOT EXISTS resource_count_changes (
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  change bigint NOT NULL,
  platform text COLLATE "C" NOT NULL,
  plan_id text COLLATE "C" NOT NULL,
  resource text COLLATE "C" NOT NULL,
  service_id text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL
);
CREATE INDEX IF NOT EXISTS resource_count_changes_xid ON resource_count_changes (xid);

-- Has one row. All changes of transactions before this one are folded, so readers skip them, even while an old snapshot
-- keeps VACUUM from removing their rows.
CREATE TABLE IF NOT EXISTS resource_counts_folded (before xid8 NOT NULL);
INSERT INTO resource_counts_folded SELECT '0' WHERE NOT EXISTS (SELECT FROM resource_counts_folded);

-- The text of each function contains the schema, because a search_path setting would cost 40 µs for each call.
DO $do$
BEGIN
  -- For each statement, because instances are written in batches. It costs 40 µs.
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION count_instances() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP = 'INSERT' THEN
        INSERT INTO %1$I.resource_count_changes (change, platform, plan_id, resource, service_id, status)
        SELECT count(*), platform, plan_id, 'instance', service_id, status FROM new_rows GROUP BY 2, 3, 5, 6;
      ELSE
        INSERT INTO %1$I.resource_count_changes (change, platform, plan_id, resource, service_id, status)
        SELECT sum(sign), platform, plan_id, 'instance', service_id, status FROM (
          SELECT 1 AS sign, platform, plan_id, service_id, status FROM new_rows
          UNION ALL SELECT -1, platform, plan_id, service_id, status FROM old_rows
        ) AS changed GROUP BY 2, 3, 5, 6 HAVING sum(sign) <> 0;
      END IF;
      RETURN NULL;
    END
    $$ $sql$, current_schema());

  -- For rows that are written one at a time. It costs 20 µs.
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION count_row() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP <> 'DELETE' THEN
        INSERT INTO %1$I.resource_count_changes (change, platform, plan_id, resource, service_id, status)
        VALUES (1, NEW.platform, NEW.plan_id, TG_ARGV[0], NEW.service_id, NEW.status);
      END IF;
      IF TG_OP <> 'INSERT' THEN
        INSERT INTO %1$I.resource_count_changes (change, platform, plan_id, resource, service_id, status)
        VALUES (-1, OLD.platform, OLD.plan_id, TG_ARGV[0], OLD.service_id, OLD.status);
      END IF;
      RETURN NULL;
    END
    $$ $sql$, current_schema());

  -- TRUNCATE locks the table, so no other session adds changes meanwhile: subtract everything that was counted.
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION count_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO %1$I.resource_count_changes (change, platform, plan_id, resource, service_id, status)
      SELECT -sum(n), platform, plan_id, resource, service_id, status FROM (
        SELECT count AS n, platform, plan_id, resource, service_id, status FROM %1$I.resource_counts
        UNION ALL
        SELECT change, platform, plan_id, resource, service_id, status FROM %1$I.resource_count_changes
      ) AS counted WHERE resource = TG_ARGV[0] GROUP BY 2, 3, 4, 5, 6 HAVING sum(n) <> 0;
      RETURN NULL;
    END
    $$ $sql$, current_schema());

  -- Two kinds of operations use a place that no instance of the plan accounts for: an update to another plan, and the
  -- deletion of a failed instance. The operation stores the plan, because its instance may be gone when it ends.
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION take_place() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      SELECT service_id, CASE NEW.kind WHEN 'update' THEN NEW.target ->> 'planId' ELSE plan_id END
      INTO NEW.place_service_id, NEW.place_plan_id FROM %1$I.service_instances
      WHERE instance_id = NEW.instance_id
        AND CASE NEW.kind WHEN 'update' THEN plan_id <> NEW.target ->> 'planId' ELSE status = 'failed' END;
      IF FOUND THEN
        INSERT INTO %1$I.resource_count_changes (change, platform, plan_id, resource, service_id, status)
        VALUES (1, NEW.platform, NEW.place_plan_id, 'place', NEW.place_service_id, NEW.kind);
      END IF;
      RETURN NEW;
    END
    $$ $sql$, current_schema());
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION leave_place() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO %1$I.resource_count_changes (change, platform, plan_id, resource, service_id, status)
      VALUES (-1, OLD.platform, OLD.place_plan_id, 'place', OLD.place_service_id, OLD.kind);
      RETURN NULL;
    END
    $$ $sql$, current_schema());

  -- One session folds at a time, with the rights of the owner of the tables. The changes of a transaction that is still
  -- open are not visible, so they stay for the next time.
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION fold_resource_counts(rows_at_most integer) RETURNS bigint
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, pg_temp AS $$
    DECLARE
      folded_before xid8;
      -- Read in a statement before the DELETE, so that the DELETE sees all changes of the transactions before it.
      horizon xid8 := pg_snapshot_xmin(pg_current_snapshot());
      newest xid8;
      folded bigint;
    BEGIN
      IF NOT pg_try_advisory_xact_lock(hashtext('osb-fold'), hashtext(current_schema())) THEN
        RETURN 0;
      END IF;
      SELECT before INTO folded_before FROM resource_counts_folded;
      WITH gone AS (
        DELETE FROM resource_count_changes WHERE ctid = ANY (ARRAY(
          SELECT ctid FROM resource_count_changes
          -- In a database that was restored into another server, stored ids can be ahead of those of the server.
          WHERE xid >= CASE WHEN folded_before <= horizon THEN folded_before ELSE '0' END ORDER BY xid LIMIT rows_at_most
        )) RETURNING xid, change, platform, plan_id, resource, service_id, status
      ), counted AS (
        INSERT INTO resource_counts AS counts (platform, plan_id, resource, service_id, status, count)
        SELECT platform, plan_id, resource, service_id, status, sum(change) FROM gone GROUP BY 1, 2, 3, 4, 5
        ON CONFLICT (platform, plan_id, resource, service_id, status) DO UPDATE SET count = counts.count + excluded.count
      )
      SELECT count(*), max(xid) INTO folded, newest FROM gone;
      IF folded > 0 THEN
        UPDATE resource_counts_folded
        SET before = CASE WHEN folded < rows_at_most THEN horizon ELSE least(horizon, newest) END;
      END IF;
      RETURN folded;
    END
    $$ $sql$, current_schema());
END
$do$;

-- step
-- Roles that may write the tables may also count. This comes before the triggers, which run with the rights of the writer.
DO $$
DECLARE
  entry record;
BEGIN
  FOR entry IN
    SELECT DISTINCT acl.grantee::regrole AS role, acl.privilege_type AS right
    FROM pg_class AS held, aclexplode(held.relacl) AS acl
    WHERE held.oid = 'service_instances'::regclass AND acl.grantee NOT IN (0, held.relowner)
      AND acl.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  LOOP
    IF entry.right = 'SELECT' THEN
      EXECUTE format('GRANT SELECT ON resource_counts, resource_count_changes, resource_counts_folded TO %s', entry.role);
    ELSE
      EXECUTE format('GRANT INSERT ON resource_count_changes TO %s', entry.role);
    END IF;
  END LOOP;
END
$$;

-- step
CREATE OR REPLACE TRIGGER count_inserted AFTER INSERT ON service_instances
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_instances();
CREATE OR REPLACE TRIGGER count_updated AFTER UPDATE ON service_instances
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_instances();
CREATE OR REPLACE TRIGGER count_deleted AFTER DELETE ON service_instances
  FOR EACH ROW EXECUTE FUNCTION count_row('instance');
CREATE OR REPLACE TRIGGER count_truncated AFTER TRUNCATE ON service_instances
  FOR EACH STATEMENT EXECUTE FUNCTION count_truncated('instance');

-- step
CREATE OR REPLACE TRIGGER count_inserted AFTER INSERT ON service_bindings
  FOR EACH ROW EXECUTE FUNCTION count_row('binding');
CREATE OR REPLACE TRIGGER count_updated AFTER UPDATE OF platform, plan_id, service_id, status ON service_bindings
  FOR EACH ROW WHEN ((OLD.platform, OLD.plan_id, OLD.service_id, OLD.status)
    IS DISTINCT FROM (NEW.platform, NEW.plan_id, NEW.service_id, NEW.status))
  EXECUTE FUNCTION count_row('binding');
CREATE OR REPLACE TRIGGER count_deleted AFTER DELETE ON service_bindings
  FOR EACH ROW EXECUTE FUNCTION count_row('binding');
CREATE OR REPLACE TRIGGER count_truncated AFTER TRUNCATE ON service_bindings
  FOR EACH STATEMENT EXECUTE FUNCTION count_truncated('binding');

-- step
ALTER TABLE operations
  ADD COLUMN IF NOT EXISTS place_service_id text COLLATE "C",
  ADD COLUMN IF NOT EXISTS place_plan_id text COLLATE "C";
CREATE OR REPLACE TRIGGER take_place BEFORE INSERT ON operations FOR EACH ROW
  WHEN (NEW.binding_id IS NULL AND NEW.kind IN ('update', 'deprovision')) EXECUTE FUNCTION take_place();
CREATE OR REPLACE TRIGGER leave_place_ended AFTER UPDATE OF state ON operations FOR EACH ROW
  WHEN (OLD.place_plan_id IS NOT NULL AND OLD.state = 'in progress' AND NEW.state <> 'in progress')
  EXECUTE FUNCTION leave_place();
CREATE OR REPLACE TRIGGER leave_place_deleted AFTER DELETE ON operations FOR EACH ROW
  WHEN (OLD.place_plan_id IS NOT NULL AND OLD.state = 'in progress') EXECUTE FUNCTION leave_place();
CREATE OR REPLACE TRIGGER count_truncated AFTER TRUNCATE ON operations
  FOR EACH STATEMENT EXECUTE FUNCTION count_truncated('place');

-- step
-- The places of operations that are running already.
WITH taking AS (
  UPDATE operations AS operation SET place_service_id = instance.service_id,
    place_plan_id = CASE operation.kind WHEN 'update' THEN operation.target ->> 'planId' ELSE instance.plan_id END
  FROM service_instances AS instance
  WHERE instance.instance_id = operation.instance_id AND operation.state = 'in progress'
    AND operation.binding_id IS NULL AND operation.kind IN ('update', 'deprovision') AND operation.place_plan_id IS NULL
    AND CASE operation.kind WHEN 'update' THEN instance.plan_id <> operation.target ->> 'planId'
      ELSE instance.status = 'failed' END
  RETURNING operation.platform, place_plan_id, place_service_id, kind
)
INSERT INTO resource_count_changes (change, platform, plan_id, resource, service_id, status)
SELECT 1, platform, place_plan_id, 'place', place_service_id, kind FROM taking;

-- step
-- The rows that are older than the triggers. One statement sees the tables and the changes at the same moment, so no writer
-- has to wait: it subtracts the changes that the triggers have recorded already.
INSERT INTO resource_counts (platform, plan_id, resource, service_id, status, count)
SELECT platform, plan_id, resource, service_id, status, sum(n) FROM (
  SELECT platform, plan_id, 'instance' AS resource, service_id, status, count(*) AS n FROM service_instances
  GROUP BY 1, 2, 4, 5
  UNION ALL
  SELECT platform, plan_id, 'binding', service_id, status, count(*) FROM service_bindings GROUP BY 1, 2, 4, 5
  UNION ALL
  SELECT platform, plan_id, resource, service_id, status, -sum(change) FROM resource_count_changes
  WHERE resource <> 'place' GROUP BY 1, 2, 3, 4, 5
) AS counted
WHERE NOT EXISTS (SELECT FROM resource_counts)
GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0;
