-- Lets the jobs of running attempts wait again at their old place: SCHEDULED until p_due, or QUEUED where that is null.
-- Fenced by (job_id, attempt), and by the session where one is given. Returns the attempts that were the running ones;
-- executor_id stays, as who worked last.
CREATE FUNCTION give_back(
    p_ids uuid[], p_attempts int[], p_charged boolean[], p_paid boolean[], p_due timestamptz[], p_died boolean[],
    p_sessions bigint[]
) RETURNS TABLE (job_id uuid, attempt int, step smallint, executor_id text, attempt_time timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM lower_floors(p_ids);
    PERFORM 1 FROM queue WHERE job_id = ANY (p_ids) ORDER BY seq FOR UPDATE;
    RETURN QUERY
    UPDATE queue q
    SET state = CASE WHEN r.due IS NULL THEN 2 ELSE 1 END, due_time = r.due, queued_time = now(),
        retry_count = q.retry_count + r.charged::int, paid_calls = q.paid_calls + r.paid::int,
        preparing_deaths = q.preparing_deaths + r.died::int, session = NULL, stage = NULL, stage_time = NULL
    FROM unnest(p_ids, p_attempts, p_charged, p_paid, p_due, p_died, p_sessions)
        AS r (id, attempt, charged, paid, due, died, session)
    WHERE q.job_id = r.id AND q.attempt = r.attempt AND q.state = 3 AND (r.session IS NULL OR q.session = r.session)
    RETURNING q.job_id, q.attempt, q.step, q.executor_id, q.attempt_time;
END $$;
