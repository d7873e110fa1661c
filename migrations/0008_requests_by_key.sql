-- Whoever submitted a task in its own transaction looks for it by its idempotency key, and often, until it is there: a
-- request that still waits, or was refused, is found without reading the whole inbox. The key alone, because its length has
-- a limit; namespace and name have one only when the broker looks at them.
CREATE INDEX task_inbox_by_key ON tasker.task_inbox (idempotency_key, inbox_id) WHERE idempotency_key IS NOT NULL;
