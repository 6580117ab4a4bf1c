-- Stores attempts that ended, of those jobs of which p_runs tells where they ran; with p_replacing in the place of what was
-- stored before: of them being given up. Returns what that adds to the usage: what an attempt cost that did not succeed is
-- wasted.
CREATE FUNCTION keep_attempts(p_records attempt_record[], p_runs attempt_run[], p_replacing boolean)
RETURNS usage_entry[] LANGUAGE plpgsql AS $$
DECLARE
    v_used usage_entry[] := '{}';
BEGIN
    IF p_replacing THEN
        v_used := (
            SELECT uncount_attempts(array_agg(r.job_id), array_agg(r.attempt))
            FROM unnest(p_records) AS r JOIN unnest(p_runs) AS run ON run.job_id = r.job_id);
    END IF;
    INSERT INTO attempts AS a (job_id, attempt, step, model, executor_id, start_time, finish_time, outcome, error_kind,
        error_message, error_retryable, usage, cost_usd, model_version, stage_seconds, paid, raw_answer, unanswered, flaw,
        output_path, service_tier)
    SELECT r.job_id, r.attempt, run.step, lane_model(run.lane), run.executor_id, coalesce(run.start_time, r.finish_time),
        r.finish_time, r.outcome, r.error_kind, r.error_message, r.error_retryable, r.usage, r.cost_usd, r.model_version,
        r.stage_seconds, r.paid, r.raw_answer, r.unanswered, r.flaw, r.output_path, r.service_tier
    FROM unnest(p_records) AS r JOIN unnest(p_runs) AS run ON run.job_id = r.job_id
    ON CONFLICT (job_id, attempt) DO UPDATE
    SET model = excluded.model, finish_time = excluded.finish_time, outcome = excluded.outcome,
        error_kind = excluded.error_kind, error_message = excluded.error_message,
        error_retryable = excluded.error_retryable, usage = excluded.usage, cost_usd = excluded.cost_usd,
        model_version = excluded.model_version, stage_seconds = excluded.stage_seconds, paid = excluded.paid,
        raw_answer = excluded.raw_answer, unanswered = excluded.unanswered, flaw = excluded.flaw,
        output_path = excluded.output_path, service_tier = excluded.service_tier;
    RETURN v_used || ARRAY(
        SELECT ROW(r.job_id, NULL, lane_model(run.lane), CASE WHEN r.attempt = run.ended_by THEN 1 ELSE 0 END, r.usage,
            r.cost_usd, CASE WHEN r.outcome = 1 THEN 0 ELSE r.cost_usd END, r.unanswered::int)::usage_entry
        FROM unnest(p_records) AS r JOIN unnest(p_runs) AS run ON run.job_id = r.job_id);
END $$;
