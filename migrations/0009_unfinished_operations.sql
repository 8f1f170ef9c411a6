-- in steps
-- The operations that have started since the last look for unfinished operations.

-- step
-- The condition holds for unfinished operations, but other queries express it differently. Otherwise the planner, which
-- expects the index to be almost empty, would read all of it for queries that have a better index.
CREATE INDEX CONCURRENTLY IF NOT EXISTS operations_unfinished ON :schema.operations (seq) WHERE finished_at IS NULL;

-- step
-- Lets any role read how far the sequence is. It shows only how many operations there have been.
GRANT SELECT ON SEQUENCE operations_seq_seq TO PUBLIC;
