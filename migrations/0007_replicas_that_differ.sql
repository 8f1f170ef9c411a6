-- What an operation needs, so that a replica takes it only if it knows the provider and the plan. NULL in operations that
-- were started before this migration: any replica takes those.
ALTER TABLE operations
  ADD COLUMN provider text,
  ADD COLUMN service_id text,
  ADD COLUMN plan_id text,
  -- Names the caller of a claim, so that a caller that lost the answer can ask again and get the same claim.
  ADD COLUMN claimed_by text,
  -- The request was answered with an error, but the operation continues.
  ADD COLUMN unreported boolean NOT NULL DEFAULT false;
