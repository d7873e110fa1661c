-- What operators did to namespaces and workers, and why: `operator_actions` has what they did to tasks. A row is written when
-- something has changed, and never changes itself. A broker of the release before knows neither table nor view: it hands out
-- the steps of a namespace that is paused.

CREATE TABLE tasker.fleet_actions (
    action_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject_kind text NOT NULL CHECK (subject_kind IN ('namespace', 'worker')),
    subject      text NOT NULL,
    operation    text NOT NULL,
    actor        text NOT NULL,
    reason       text NOT NULL,
    state_before text NOT NULL,
    state_after  text NOT NULL,
    acted_at     timestamptz NOT NULL DEFAULT now(),
    lane         smallint NOT NULL,
    seq          bigint NOT NULL,
    CHECK (operation IN ('pause', 'resume') AND subject_kind = 'namespace'
           OR operation = 'drain' AND subject_kind = 'worker')
);

CREATE INDEX fleet_actions_subject ON tasker.fleet_actions (subject_kind, subject, action_id DESC);

-- Namespaces of which no step is handed out: what was done to them last was a pause.
CREATE VIEW tasker.paused_namespaces AS
SELECT last.subject AS namespace, last.actor, last.reason, last.acted_at AS paused_at
FROM (SELECT DISTINCT ON (action.subject) action.*
      FROM tasker.fleet_actions AS action WHERE action.subject_kind = 'namespace'
      ORDER BY action.subject, action.action_id DESC) AS last
WHERE last.operation = 'pause';
