-- The trace of the request (W3C traceparent): whoever works on the operation goes on with it.
ALTER TABLE operations ADD COLUMN trace_context text;
