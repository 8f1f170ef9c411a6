-- The instances of a platform on a plan, which a start with a quota counts. COLLATE "C" as on the ids.
CREATE INDEX service_instances_quota ON service_instances (platform COLLATE "C", plan_id COLLATE "C");
