-- Returns what counts the first steps of jobs as wasted whose second step gave nothing. Only what a job paid itself: the
-- output of another one names no attempt.
CREATE FUNCTION wasted_steps(p_ids uuid[]) RETURNS usage_entry[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        SELECT ROW(s.job_id, NULL, a.model, 0, NULL, 0, a.cost_usd, 0)::usage_entry
        FROM step_outputs s JOIN attempts a ON a.job_id = s.job_id AND a.attempt = s.attempt
        WHERE s.job_id = ANY (p_ids) AND a.job_id = ANY (p_ids));
END $$;
