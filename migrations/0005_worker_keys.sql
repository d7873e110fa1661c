-- Which key a worker came with, by the name that the broker's list of peers has for it. The name of a worker belongs to
-- that key while it is registered, also over a restart of the broker. NULL: no key was demanded, or an earlier release
-- wrote the row.

ALTER TABLE tasker.worker_registrations ADD COLUMN key_name text;
