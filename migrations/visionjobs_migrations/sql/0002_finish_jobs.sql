-- Ends the jobs of attempts, each job named once. A success needs no more than a job that is not final; anything else
-- needs its attempt to be the running one, in its session where one is given.
--
-- Returns what became of it: 'ended' attempts, jobs that are 'changed' because they followed one of these, and attempts
-- 'to_stop', which ran in the place of one that succeeded late.
CREATE FUNCTION finish_jobs(
    p_ids uuid[], p_attempts int[], p_outcomes smallint[], p_finish_times timestamptz[], p_error_kinds text[],
    p_error_messages text[], p_error_retryable boolean[], p_usages text[], p_costs float8[], p_model_versions text[],
    p_stage_seconds text[], p_paid boolean[], p_raw_answers text[], p_states smallint[], p_outputs text[],
    p_job_error_kinds text[], p_job_error_messages text[], p_job_error_retryable boolean[], p_sessions bigint[],
    p_lifetime interval
) RETURNS TABLE (what text, job_id uuid, attempt int, executor_id text, session bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_ids uuid[];
    v_attempts int[];
    v_keys bytea[];
    v_states smallint[];
    v_kinds text[];
    v_retryable boolean[];
    v_promoted text[];
    v_stop_ids uuid[];
    v_stop_attempts int[];
    v_stop_executors text[];
    v_stop_sessions bigint[];
BEGIN
    IF 4 <> ANY (p_states) THEN
        -- A follower may be promoted.
        PERFORM lock_lanes(p_ids);
    END IF;
    IF EXISTS (SELECT 1 FROM lanes WHERE breaker_open_until IS NULL AND (breaker_failures > 0 OR throttles > 0)) THEN
        PERFORM lock_lanes(p_ids);
        UPDATE lanes SET breaker_failures = 0, throttles = 0, version = version + 1
        WHERE breaker_open_until IS NULL AND (breaker_failures > 0 OR throttles > 0) AND lane IN (
            SELECT q.lane FROM queue q JOIN unnest(p_ids, p_states) AS u (id, state) ON q.job_id = u.id
            WHERE u.state = 4);
    END IF;
    PERFORM lock_groups(p_ids);

    WITH o AS MATERIALIZED (
        SELECT * FROM unnest(p_ids, p_attempts, p_outcomes, p_finish_times, p_error_kinds, p_error_messages,
            p_error_retryable, p_usages, p_costs, p_model_versions, p_stage_seconds, p_paid, p_raw_answers, p_states,
            p_outputs, p_job_error_kinds, p_job_error_messages, p_job_error_retryable, p_sessions)
            AS o (job_id, attempt, outcome, finish_time, error_kind, error_message, error_retryable, usage, cost_usd,
                model_version, stage_seconds, paid, raw_answer, state, output_json, job_error_kind, job_error_message,
                job_error_retryable, session)
    ), locked AS MATERIALIZED (
        SELECT q.job_id FROM queue q JOIN o ON q.job_id = o.job_id
        WHERE (q.attempt = o.attempt AND q.state = 3 AND (o.session IS NULL OR q.session = o.session))
           OR (o.state = 4 AND o.attempt BETWEEN 1 AND q.attempt)
        ORDER BY q.seq FOR UPDATE OF q
    ), gone AS (
        DELETE FROM queue q USING locked WHERE q.job_id = locked.job_id
        RETURNING q.job_id, q.step, q.retry_count, q.executor_id, q.start_time, q.attempt_time, q.dedup_key,
            array_to_string(q.promoted_for, ',') AS promoted, q.state, q.attempt, q.session
    ), ended AS (
        INSERT INTO results (job_id, state, step, attempt, retry_count, executor_id, start_time, finish_time,
            output_json, error_kind, error_message, error_retryable)
        SELECT o.job_id, o.state, g.step, o.attempt, g.retry_count, g.executor_id, g.start_time, o.finish_time,
            o.output_json, o.job_error_kind, o.job_error_message, o.job_error_retryable
        FROM gone g JOIN o ON o.job_id = g.job_id
    ), attempted AS (
        INSERT INTO attempts AS a (job_id, attempt, step, executor_id, start_time, finish_time, outcome, error_kind,
            error_message, error_retryable, usage, cost_usd, model_version, stage_seconds, paid, raw_answer)
        SELECT o.job_id, o.attempt, g.step, g.executor_id, coalesce(g.attempt_time, o.finish_time), o.finish_time,
            o.outcome, o.error_kind, o.error_message, o.error_retryable, o.usage::bigint[], o.cost_usd,
            o.model_version, o.stage_seconds::float8[], o.paid, o.raw_answer
        FROM gone g JOIN o ON o.job_id = g.job_id
        UNION ALL
        -- 6 is CANCELLED: it ran in the place of the one that succeeded.
        SELECT g.job_id, g.attempt, g.step, g.executor_id, coalesce(g.attempt_time, o.finish_time), o.finish_time, 6,
            'CANCELLED', 'An earlier attempt succeeded late.', false, NULL, 0, '', '{}', false, NULL
        FROM gone g JOIN o ON o.job_id = g.job_id WHERE g.state = 3 AND g.attempt <> o.attempt
        ON CONFLICT (job_id, attempt) DO UPDATE
        SET finish_time = excluded.finish_time, outcome = excluded.outcome, error_kind = excluded.error_kind,
            error_message = excluded.error_message, error_retryable = excluded.error_retryable,
            usage = excluded.usage, cost_usd = excluded.cost_usd, model_version = excluded.model_version,
            stage_seconds = excluded.stage_seconds, paid = excluded.paid, raw_answer = excluded.raw_answer
    )
    SELECT array_agg(o.job_id), array_agg(o.attempt), array_agg(g.dedup_key), array_agg(o.state),
        array_agg(o.job_error_kind), array_agg(o.job_error_retryable), array_agg(g.promoted),
        array_agg(g.job_id) FILTER (WHERE g.state = 3 AND g.attempt <> o.attempt),
        array_agg(g.attempt) FILTER (WHERE g.state = 3 AND g.attempt <> o.attempt),
        array_agg(g.executor_id) FILTER (WHERE g.state = 3 AND g.attempt <> o.attempt),
        array_agg(g.session) FILTER (WHERE g.state = 3 AND g.attempt <> o.attempt)
    INTO v_ids, v_attempts, v_keys, v_states, v_kinds, v_retryable, v_promoted, v_stop_ids, v_stop_attempts,
        v_stop_executors, v_stop_sessions
    FROM gone g JOIN o ON o.job_id = g.job_id;

    RETURN QUERY SELECT 'ended', u.id, u.attempt, NULL::text, NULL::bigint
        FROM unnest(v_ids, v_attempts) AS u (id, attempt);
    RETURN QUERY SELECT 'to_stop', u.id, u.attempt, u.executor_id, u.session
        FROM unnest(v_stop_ids, v_stop_attempts, v_stop_executors, v_stop_sessions)
            AS u (id, attempt, executor_id, session);
    IF EXISTS (SELECT 1 FROM unnest(v_keys) AS k WHERE k IS NOT NULL) THEN
        RETURN QUERY SELECT 'changed', f.id, NULL::int, NULL::text, NULL::bigint
            FROM end_followers(v_ids, v_keys, v_states, v_kinds, v_retryable, v_promoted, p_lifetime) AS f (id);
    END IF;
END $$;
