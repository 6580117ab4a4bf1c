-- Lets the jobs of running attempts wait again at their old place: SCHEDULED until p_due, or QUEUED where that is null.
-- Fenced by (job_id, attempt), and by the session where one is given. Returns the attempts that were the running ones;
-- executor_id stays, as who worked last.
CREATE FUNCTION give_back(
    p_records attempt_record[], p_charged boolean[], p_due timestamptz[], p_died boolean[], p_sessions bigint[]
) RETURNS TABLE (job_id uuid, attempt int) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_ids uuid[] := ARRAY(SELECT r.job_id FROM unnest(p_records) AS r);
    v_attempts int[];
    v_runs attempt_run[];
BEGIN
    PERFORM lower_floors(v_ids);
    PERFORM 1 FROM queue WHERE job_id = ANY (v_ids) ORDER BY seq FOR UPDATE;
    WITH back AS (
        UPDATE queue q
        SET state = CASE WHEN r.due IS NULL THEN 2 ELSE 1 END, due_time = r.due, queued_time = now(),
            retry_count = q.retry_count + r.charged::int, paid_calls = q.paid_calls + r.paid::int,
            preparing_deaths = q.preparing_deaths + r.died::int, session = NULL, stage = NULL, stage_time = NULL,
            flaws = CASE WHEN r.flaw IS NULL THEN q.flaws ELSE q.flaws || r.flaw END
        FROM unnest(p_charged, p_due, p_died, p_sessions, p_records) AS r (charged, due, died, session)
        WHERE q.job_id = r.job_id AND q.attempt = r.attempt AND q.state = 3
            AND (r.session IS NULL OR q.session = r.session)
        RETURNING q.job_id, q.attempt, q.step, q.lane, q.executor_id, q.attempt_time
    )
    SELECT array_agg(b.job_id), array_agg(b.attempt),
        array_agg(ROW(b.job_id, b.step, b.lane, b.executor_id, b.attempt_time, NULL)::attempt_run)
    INTO v_ids, v_attempts, v_runs
    FROM back b;

    RETURN QUERY SELECT u.id, u.attempt FROM unnest(v_ids, v_attempts) AS u (id, attempt);
    PERFORM add_usage(keep_attempts(p_records, v_runs, false));
END $$;
