-- in steps
-- What has begun since the last look for unfinished operations.

-- step
-- The condition is that of an unfinished operation, in words that no other query uses: to the planner this index looks as
-- if it had no entries, so it would read all of it for a query that has another index.
CREATE INDEX CONCURRENTLY IF NOT EXISTS operations_unfinished ON :schema.operations (seq) WHERE finished_at IS NULL;

-- step
-- How far the order of operations has come; it says no more than how many there have been.
GRANT SELECT ON SEQUENCE operations_seq_seq TO PUBLIC;
