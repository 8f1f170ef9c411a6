-- in steps
-- Lists the instances of some plans, page by page. It replaces the index for counting quotas; older replicas count with its
-- first column.

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS service_instances_of_plan
  ON :schema.service_instances (plan_id COLLATE "C", provider COLLATE "C", instance_id);

-- step
DROP INDEX CONCURRENTLY IF EXISTS :schema.service_instances_quota;
