-- What people look for at night: tasks that ended in another way than `complete`, newest first. Those that ended well are in no
-- index but the key, so that the way of most tasks costs what it did; a failed one costs one entry more.
--
-- By state and id, so that the newest of each state are at its end, however many there are of the others.
CREATE INDEX tasks_ended_otherwise ON tasker.tasks (final_state, task_id)
WHERE final_state IN ('error', 'cancelled', 'resolved_manually');
