-- What has left by age, so that whoever misses a task can tell that it was meant to go, and where its archive is. The rows
-- themselves leave by dropping partitions; this is written in the transaction that drops them.

CREATE TABLE tasker.prunings (
    pruning_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pruned_at    timestamptz NOT NULL DEFAULT now(),
    -- Of a month of tasks: 'tasks'. Of a month of records: the name of the table.
    subject      text NOT NULL,
    month        date NOT NULL,
    -- How many tasks left, and how many of the month stay, by state: {"complete": 120}. NULL for records.
    tasks_left   json,
    tasks_kept   json,
    rows_left    bigint NOT NULL,
    bytes_before bigint NOT NULL,
    archive      text,
    sha256       text,
    CHECK ((archive IS NULL) = (sha256 IS NULL))
);

CREATE INDEX prunings_month ON tasker.prunings (subject, month);
