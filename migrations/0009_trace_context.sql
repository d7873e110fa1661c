-- What a trace of several systems goes by (W3C Trace Context) comes with a request and reaches every step of its task, as
-- the two texts that they are in HTTP headers. A broker of the release before leaves them alone: it names its columns.

ALTER TABLE tasker.tasks ADD COLUMN traceparent text, ADD COLUMN tracestate text;
ALTER TABLE tasker.task_inbox ADD COLUMN traceparent text, ADD COLUMN tracestate text;

-- A function with more parameters is another one, and calls of the old one would fit both. The new ones come last and have
-- defaults, so that every call of the old one is one of the new one.
DROP FUNCTION tasker.submit_task(text, text, json, text, text, integer, timestamptz, text[], text, text, text, text[],
                                 text, json);

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
    options         json DEFAULT NULL,
    traceparent     text DEFAULT NULL,
    tracestate      text DEFAULT NULL
) RETURNS bigint
LANGUAGE sql AS $$
    INSERT INTO tasker.task_inbox (namespace, name, context, version, idempotency_key, priority, run_at, bypass_steps,
                                   initiator, source_system, reason, tags, correlation_id, options, traceparent, tracestate)
    VALUES (submit_task.namespace, submit_task.name, submit_task.context, submit_task.version,
            submit_task.idempotency_key, submit_task.priority, submit_task.run_at, submit_task.bypass_steps,
            submit_task.initiator, submit_task.source_system, submit_task.reason, submit_task.tags,
            submit_task.correlation_id, submit_task.options, submit_task.traceparent, submit_task.tracestate)
    RETURNING inbox_id
$$;
