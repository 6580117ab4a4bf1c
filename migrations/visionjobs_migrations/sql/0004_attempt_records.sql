-- Makes records of columns; what is an array itself comes as a literal, for unnest flattens arrays of arrays.
CREATE FUNCTION attempt_records(
    p_ids uuid[], p_attempts int[], p_outcomes smallint[], p_finish_times timestamptz[], p_error_kinds text[],
    p_error_messages text[], p_error_retryable boolean[], p_usages text[], p_costs float8[], p_model_versions text[],
    p_stage_seconds text[], p_paid boolean[], p_raw_answers text[], p_unanswered boolean[], p_flaws text[],
    p_output_paths text[], p_service_tiers text[]
) RETURNS attempt_record[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(
        ROW(r.job_id, r.attempt, r.outcome, r.finish_time, r.error_kind, r.error_message, r.error_retryable,
            r.usage::bigint[], r.cost_usd, r.model_version, r.stage_seconds::float8[], r.paid, r.raw_answer, r.unanswered,
            r.flaw, r.output_path, r.service_tier)::attempt_record
        ORDER BY r.place), '{}')
    FROM unnest(p_ids, p_attempts, p_outcomes, p_finish_times, p_error_kinds, p_error_messages, p_error_retryable, p_usages,
        p_costs, p_model_versions, p_stage_seconds, p_paid, p_raw_answers, p_unanswered, p_flaws, p_output_paths,
        p_service_tiers) WITH ORDINALITY
        AS r (job_id, attempt, outcome, finish_time, error_kind, error_message, error_retryable, usage, cost_usd,
            model_version, stage_seconds, paid, raw_answer, unanswered, flaw, output_path, service_tier, place)
$$;
