-- in steps
-- What has begun since the last look for unfinished operations.

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS operations_unfinished ON :schema.operations (seq) WHERE state = 'in progress';

-- step
-- How far the order of operations has come; it says no more than how many there have been.
GRANT SELECT ON SEQUENCE operations_seq_seq TO PUBLIC;
