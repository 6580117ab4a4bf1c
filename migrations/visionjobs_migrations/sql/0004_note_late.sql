-- Fills the rows of attempts that were given up (5, LOST) or cancelled (6) with what is told of them late. Their jobs needed
-- them no longer, so all that they cost is wasted.
CREATE FUNCTION note_late(p_records attempt_record[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_ids uuid[] := ARRAY(SELECT r.job_id FROM unnest(p_records) AS r);
    v_attempts int[];
    v_used usage_entry[];
BEGIN
    -- Two schedulers may be told the same ones at once. What follows sees what the other one did.
    PERFORM 1 FROM attempts a WHERE a.job_id = ANY (v_ids) AND a.outcome IN (5, 6) ORDER BY a.job_id, a.attempt FOR UPDATE;
    -- Those of the time before there were counts have no model.
    SELECT array_agg(r.job_id), array_agg(r.attempt),
        array_agg(ROW(r.job_id, NULL, coalesce(nullif(a.model, ''), j.spec ->> 'model'), 0, r.usage, r.cost_usd, r.cost_usd,
            r.unanswered::int)::usage_entry)
    INTO v_ids, v_attempts, v_used
    FROM unnest(p_records) AS r JOIN attempts a ON a.job_id = r.job_id AND a.attempt = r.attempt
        JOIN jobs j ON j.job_id = r.job_id
    WHERE a.job_id = ANY (v_ids) AND j.job_id = ANY (v_ids) AND a.outcome IN (5, 6);
    IF v_ids IS NULL THEN
        RETURN;
    END IF;
    v_used := v_used || uncount_attempts(v_ids, v_attempts);

    UPDATE attempts AS a
    SET finish_time = r.finish_time, outcome = r.outcome, error_kind = r.error_kind, error_message = r.error_message,
        error_retryable = r.error_retryable, usage = r.usage, cost_usd = r.cost_usd, model_version = r.model_version,
        stage_seconds = r.stage_seconds, paid = r.paid, raw_answer = r.raw_answer, unanswered = r.unanswered,
        flaw = r.flaw, output_path = r.output_path, service_tier = r.service_tier
    FROM unnest(p_records) AS r
    WHERE a.job_id = r.job_id AND a.attempt = r.attempt AND a.outcome IN (5, 6) AND a.job_id = ANY (v_ids);
    PERFORM add_usage(v_used);
END $$;
