-- Locks what an executor may take back: lanes, jobs, and the losses (5) of their attempts. Lanes too, for a claim would
-- skip a job that is locked and goes on waiting, and raise its floor past it.
--
-- The statement that follows sees all that was done to these rows, and need not look at one twice. That matters:
-- Postgres 18 crashes when a second look at a locked row leads it to a partitioned table.
CREATE FUNCTION lock_held(p_ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_lanes(p_ids);
    PERFORM 1 FROM queue WHERE job_id = ANY (p_ids) ORDER BY seq FOR UPDATE;
    PERFORM 1 FROM attempts WHERE job_id = ANY (p_ids) AND outcome = 5 ORDER BY job_id, attempt FOR UPDATE;
END
$$;
