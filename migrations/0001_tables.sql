-- The tables of the broker.
--
-- The hot path only inserts: a step row is written once with its task, its outcome is a second row written once, and a
-- dispatch is one row a batch. The state of a step is derived by the views of 0003, so the rows are the audit. There are
-- no foreign keys and no state column in an index there, because each costs about a fifth of the throughput; the tests
-- look for orphans instead.
--
-- Payloads are `json`, not `jsonb`: the text comes back byte for byte, with its numbers and key order.
--
-- `lane` and `seq` on a row name the commit group that wrote it (see `group_log`).

CREATE SCHEMA IF NOT EXISTS tasker;

-- Who is alive, and who was.
CREATE TABLE tasker.brokers (
    broker_id  uuid PRIMARY KEY,
    host       text NOT NULL,
    pid        bigint NOT NULL,
    version    text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz
);

-- A lane orders commits. Each commit group advances the row of its lane under the owner's epoch and the seq that the
-- owner expects: whoever lost the lease, or sends a group for the second time, finds no row and writes nothing.
-- `backend_pid` and `backend_start` name the owner's Postgres session, so that the lease of a dead owner is free at once.
-- Batches are open from `oldest_open_batch` on, unless they have a closing; nothing is open when it is NULL.
CREATE TABLE tasker.lanes (
    lane              smallint PRIMARY KEY CHECK (lane BETWEEN 1 AND 64),
    epoch             bigint NOT NULL DEFAULT 0,
    seq               bigint NOT NULL DEFAULT 0,
    owner             uuid,
    expires_at        timestamptz,
    backend_pid       integer,
    backend_start     timestamptz,
    oldest_open_batch uuid
) WITH (fillfactor = 10);

INSERT INTO tasker.lanes (lane) VALUES (1);

-- One row a commit group; `row_count` is what the broker declared, so that a group with rows missing can be told.
CREATE TABLE tasker.group_log (
    lane         smallint NOT NULL,
    seq          bigint NOT NULL,
    epoch        bigint NOT NULL,
    row_count    integer NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lane, seq, committed_at)
) PARTITION BY RANGE (committed_at);

-- Definitions. A version never changes: the same key with another digest is refused.
CREATE TABLE tasker.task_templates (
    template_id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace          text NOT NULL,
    name               text NOT NULL,
    version            text NOT NULL,
    definition         text NOT NULL,
    digest             bytea NOT NULL CHECK (octet_length(digest) = 32),
    -- Whose overrides apply. A broker in another environment runs the version as it was stored.
    environment        text,
    description        text,
    task_handler_class text,
    handler_config     json,
    created_at         timestamptz NOT NULL DEFAULT now(),
    UNIQUE (namespace, name, version)
);

-- The steps of a definition, so that SQL can see handlers, inputs and dependencies without reading YAML, and so that a
-- task's step rows are made inside Postgres instead of being sent.
CREATE TABLE tasker.template_steps (
    template_id      integer NOT NULL,
    step_number      integer NOT NULL,
    name             text NOT NULL,
    handler          text NOT NULL,
    retryable        boolean NOT NULL,
    retry_limit      integer NOT NULL CHECK (retry_limit >= 1),
    skippable        boolean NOT NULL,
    timeout_ms       bigint NOT NULL,
    dependent_system text,
    inputs           json NOT NULL,
    parents          integer[] NOT NULL,
    PRIMARY KEY (template_id, step_number)
);

-- `final_state` is NULL until the task has ended: whether an unfinished task is pending or in progress follows from its
-- steps, and is derived by `task_status`. Ending is the only update that a task ever gets (an operator's reset undoes it).
CREATE TABLE tasker.tasks (
    task_id         uuid PRIMARY KEY,
    created_seq     bigint NOT NULL,
    finished_seq    bigint,
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    run_at          timestamptz,
    template_id     integer NOT NULL,
    priority        integer NOT NULL,
    lane            smallint NOT NULL,
    final_state     text CHECK (final_state IN ('complete', 'error', 'cancelled', 'resolved_manually')),
    context         json NOT NULL,
    idempotency_key text,
    initiator       text,
    source_system   text,
    reason          text,
    tags            text[],
    correlation_id  text,
    options         json,
    bypass_steps    integer[],
    CHECK ((final_state IS NULL) = (finished_seq IS NULL) AND (final_state IS NULL) = (finished_at IS NULL))
) PARTITION BY RANGE (task_id);

-- Unfinished tasks only: its size is that of the work at hand, not that of history.
CREATE INDEX tasks_unfinished ON tasker.tasks (lane, task_id) WHERE final_state IS NULL;

-- What a reset overwrites in `tasks`.
CREATE TABLE tasker.task_reopenings (
    task_id      uuid NOT NULL,
    seq          bigint NOT NULL,
    lane         smallint NOT NULL,
    final_state  text NOT NULL,
    finished_seq bigint NOT NULL,
    finished_at  timestamptz NOT NULL,
    reopened_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task_id, seq)
);

-- Not partitioned with the tasks, and not joined with them: a key names its request for ever, also when the task's rows
-- have left, and over all versions of a template, so that a request that is repeated after a deploy finds the first task.
CREATE TABLE tasker.idempotency_keys (
    namespace   text NOT NULL,
    name        text NOT NULL,
    key         text NOT NULL,
    task_id     uuid NOT NULL,
    template_id integer NOT NULL,
    PRIMARY KEY (namespace, name, key)
);

-- Immutable. Handler, inputs and parents are those of the template's step, whose row never changes: they are joined, not
-- copied.
CREATE TABLE tasker.steps (
    task_id     uuid NOT NULL,
    step_number integer NOT NULL,
    retry_limit integer NOT NULL,
    name        text NOT NULL,
    PRIMARY KEY (task_id, step_number)
) PARTITION BY RANGE (task_id);

-- The key makes Postgres itself refuse a second accepted result.
-- `dispatched_at` is when the broker decided the dispatch, which is a little before the group with the batch committed;
-- to compare orders, compare the `seq` of batches and outcomes. `started_at` is by the worker's clock.
CREATE TABLE tasker.step_outcomes (
    task_id         uuid NOT NULL,
    batch_id        uuid,
    registration_id uuid,
    seq             bigint NOT NULL,
    checksum        bigint NOT NULL,
    duration_us     bigint,
    started_at      timestamptz,
    dispatched_at   timestamptz,
    finished_at     timestamptz NOT NULL DEFAULT now(),
    step_number     integer NOT NULL,
    attempt         integer NOT NULL,
    lane            smallint NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('complete', 'bypassed', 'resolved_manually')),
    result          json,
    metadata        json,
    PRIMARY KEY (task_id, step_number),
    CHECK (kind <> 'complete' OR batch_id IS NOT NULL)
) PARTITION BY RANGE (task_id);

-- Every attempt that failed. The step is in error when its last one has no `retry_at` and no reset came after.
CREATE TABLE tasker.step_attempts_failed (
    task_id         uuid NOT NULL,
    batch_id        uuid NOT NULL,
    registration_id uuid NOT NULL,
    seq             bigint NOT NULL,
    duration_us     bigint,
    started_at      timestamptz,
    dispatched_at   timestamptz NOT NULL,
    failed_at       timestamptz NOT NULL DEFAULT now(),
    retry_at        timestamptz,
    step_number     integer NOT NULL,
    attempt         integer NOT NULL CHECK (attempt >= 1),
    lane            smallint NOT NULL,
    final           boolean NOT NULL CHECK (final = (retry_at IS NULL)),
    cause           text NOT NULL CHECK (cause IN ('failed', 'timed_out', 'worker_lost')),
    error_class     text NOT NULL,
    error_message   text NOT NULL,
    error_code      text,
    error_context   json,
    backtrace       text[],
    PRIMARY KEY (task_id, step_number, attempt)
) PARTITION BY RANGE (task_id);

-- Steps that came back unrun. The attempt number is used again, with another batch.
CREATE TABLE tasker.step_returns (
    task_id     uuid NOT NULL,
    batch_id    uuid NOT NULL,
    seq         bigint NOT NULL,
    returned_at timestamptz NOT NULL DEFAULT now(),
    step_number integer NOT NULL,
    attempt     integer NOT NULL,
    lane        smallint NOT NULL,
    reason      text NOT NULL,
    PRIMARY KEY (task_id, step_number, attempt, batch_id)
) PARTITION BY RANGE (task_id);

-- A dispatch: the three arrays belong together, an element a step.
CREATE TABLE tasker.batches (
    batch_id        uuid PRIMARY KEY,
    registration_id uuid NOT NULL,
    seq             bigint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    deadline        timestamptz NOT NULL,
    lane            smallint NOT NULL,
    task_ids        uuid[] NOT NULL,
    step_numbers    integer[] NOT NULL,
    attempts        integer[] NOT NULL,
    CHECK (cardinality(task_ids) = cardinality(step_numbers) AND cardinality(task_ids) = cardinality(attempts))
) PARTITION BY RANGE (batch_id);

-- `differences`: where the worker's closing report and its partial results disagree; NULL when they agree.
CREATE TABLE tasker.batch_closings (
    batch_id    uuid PRIMARY KEY,
    seq         bigint NOT NULL,
    closed_at   timestamptz NOT NULL DEFAULT now(),
    lane        smallint NOT NULL,
    state       text NOT NULL CHECK (state IN ('completed', 'failed', 'timeout', 'cancelled')),
    differences json
) PARTITION BY RANGE (batch_id);

-- The ledger of results that were not simply accepted. Nothing that a worker names here need exist, hence step names
-- instead of numbers; and the payload is text, because a failure's message is no JSON.
CREATE TABLE tasker.received_results (
    received_at     timestamptz NOT NULL DEFAULT now(),
    seq             bigint NOT NULL,
    lane            smallint NOT NULL,
    task_id         uuid NOT NULL,
    batch_id        uuid NOT NULL,
    registration_id uuid,
    step            text NOT NULL,
    attempt         bigint NOT NULL,
    disposition     text NOT NULL CHECK (disposition IN ('duplicate', 'late', 'unknown', 'contradicting', 'refused')),
    status          text NOT NULL CHECK (status IN ('complete', 'error')),
    checksum        bigint NOT NULL,
    payload         text NOT NULL
) PARTITION BY RANGE (received_at);

CREATE INDEX received_results_task ON tasker.received_results (task_id);

-- What operators did. `attempts_before` of a retry lifts the step's limit: it may make as many more attempts as its limit
-- says, and failures up to that attempt count no more.
CREATE TABLE tasker.operator_actions (
    action_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id         uuid NOT NULL,
    step_number     integer,
    operation       text NOT NULL CHECK (operation IN ('cancel', 'retry', 'resolve')),
    actor           text NOT NULL,
    reason          text NOT NULL,
    state_before    text NOT NULL,
    state_after     text NOT NULL,
    attempts_before integer NOT NULL,
    acted_at        timestamptz NOT NULL DEFAULT now(),
    lane            smallint NOT NULL,
    seq             bigint NOT NULL
);

CREATE INDEX operator_actions_task ON tasker.operator_actions (task_id, step_number);

CREATE TABLE tasker.workers (
    name          text PRIMARY KEY,
    first_seen_at timestamptz NOT NULL DEFAULT now()
);

-- One row an episode: from a registration to its end.
CREATE TABLE tasker.worker_registrations (
    registration_id uuid PRIMARY KEY,
    worker          text NOT NULL,
    incarnation     uuid NOT NULL,
    broker_id       uuid NOT NULL,
    lane            smallint NOT NULL,
    seq             bigint NOT NULL,
    concurrency     integer NOT NULL,
    host            text NOT NULL,
    pid             bigint NOT NULL,
    language        text NOT NULL,
    library         text NOT NULL,
    registered_at   timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    ended_seq       bigint,
    end_reason      text CHECK (end_reason IN ('superseded', 'reconnected', 'lost', 'unregistered', 'drained')),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);

CREATE INDEX worker_registrations_open ON tasker.worker_registrations (lane) WHERE ended_at IS NULL;
CREATE INDEX worker_registrations_worker ON tasker.worker_registrations (worker);

-- What an episode may run: every template of a namespace when `name` is NULL, every version when `version` is.
CREATE TABLE tasker.worker_templates (
    registration_id uuid NOT NULL,
    position        integer NOT NULL,
    namespace       text NOT NULL,
    name            text,
    version         text CHECK (version IS NULL OR name IS NOT NULL),
    PRIMARY KEY (registration_id, position)
);

-- Commands that change something, with the answer: `accepted`, or the code of the refusal.
CREATE TABLE tasker.commands (
    received_at    timestamptz NOT NULL DEFAULT now(),
    seq            bigint NOT NULL,
    peer           bigint NOT NULL,
    correlation_id uuid NOT NULL,
    task_id        uuid,
    lane           smallint NOT NULL,
    name           text NOT NULL,
    outcome        text NOT NULL,
    -- From its arrival at the engine until its group was handed over for the commit.
    duration_ms    integer NOT NULL
) PARTITION BY RANGE (received_at);

-- Commands arrive in order of time: a BRIN index finds a time span and costs next to nothing to keep.
CREATE INDEX commands_received ON tasker.commands USING brin (received_at);
