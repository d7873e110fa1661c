-- The inbox: an application submits a task inside its own transaction, so that the task exists if and only if the
-- application's rows do. The broker turns rows into tasks and deletes them in the same commit; a row that it refuses stays,
-- with the reason.

CREATE TABLE tasker.task_inbox (
    inbox_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace       text NOT NULL,
    name            text NOT NULL,
    version         text,
    context         json NOT NULL CHECK (json_typeof(context) = 'object'),
    idempotency_key text CHECK (octet_length(idempotency_key) BETWEEN 1 AND 255),
    priority        integer NOT NULL DEFAULT 0,
    run_at          timestamptz,
    bypass_steps    text[] NOT NULL DEFAULT '{}',
    initiator       text,
    source_system   text,
    reason          text,
    tags            text[] NOT NULL DEFAULT '{}',
    correlation_id  text,
    options         json CHECK (json_typeof(options) = 'object'),
    submitted_at    timestamptz NOT NULL DEFAULT now(),
    refused_at      timestamptz,
    refusal         text,
    CHECK ((refusal IS NULL) = (refused_at IS NULL))
);

CREATE INDEX task_inbox_waiting ON tasker.task_inbox (inbox_id) WHERE refusal IS NULL;

-- Returns the row's number. The task's id is chosen by the broker: find it by the idempotency key in
-- `tasker.idempotency_keys`. There is no NOTIFY: inside a transaction it takes a lock that all committers share.
CREATE FUNCTION tasker.submit_task(
    namespace       text,
    name            text,
    context         json,
    version         text DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    priority        integer DEFAULT 0,
    run_at          timestamptz DEFAULT NULL,
    bypass_steps    text[] DEFAULT '{}',
    initiator       text DEFAULT NULL,
    source_system   text DEFAULT NULL,
    reason          text DEFAULT NULL,
    tags            text[] DEFAULT '{}',
    correlation_id  text DEFAULT NULL,
    options         json DEFAULT NULL
) RETURNS bigint
LANGUAGE sql AS $$
    INSERT INTO tasker.task_inbox (namespace, name, context, version, idempotency_key, priority, run_at, bypass_steps,
                                   initiator, source_system, reason, tags, correlation_id, options)
    VALUES (submit_task.namespace, submit_task.name, submit_task.context, submit_task.version,
            submit_task.idempotency_key, submit_task.priority, submit_task.run_at, submit_task.bypass_steps,
            submit_task.initiator, submit_task.source_system, submit_task.reason, submit_task.tags,
            submit_task.correlation_id, submit_task.options)
    RETURNING inbox_id
$$;
