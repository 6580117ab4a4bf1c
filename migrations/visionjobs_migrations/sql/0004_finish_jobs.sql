-- Ends the jobs of attempts, each job named once. A success needs no more than a job that is not final and whose last step
-- it is; anything else needs its attempt to be the running one, in its session where one is given.
--
-- Returns what became of it: 'ended' attempts, jobs that are 'changed' because they followed one of these, and attempts
-- 'to_stop', which ran in the place of one that succeeded late.
CREATE FUNCTION finish_jobs(
    p_records attempt_record[], p_states smallint[], p_outputs text[], p_error_kinds text[], p_error_messages text[],
    p_error_retryable boolean[], p_sessions bigint[], p_steps smallint[], p_lifetime interval
) RETURNS TABLE (what text, job_id uuid, attempt int, executor_id text, session bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_ids uuid[] := ARRAY(SELECT r.job_id FROM unnest(p_records) AS r);
    v_attempts int[];
    v_keys bytea[];
    v_states smallint[];
    v_kinds text[];
    v_retryable boolean[];
    v_promoted text[];
    v_steps smallint[];
    v_models text[];
    v_late boolean;
    v_runs attempt_run[];
    v_stopped attempt_record[];
    v_stop_executors text[];
    v_stop_sessions bigint[];
    v_failed_past_first uuid[];
    v_followers uuid[];
    v_follower_models text[];
    v_used usage_entry[];
BEGIN
    IF 4 <> ANY (p_states) THEN
        -- A follower may be promoted.
        PERFORM lock_lanes(v_ids);
    END IF;
    PERFORM end_streaks(array_agg(r.job_id), array_agg(r.step))
    FROM unnest(p_states, p_steps, p_records) AS r (state, step) WHERE r.state = 4;
    PERFORM lock_groups(v_ids);
    SELECT bool_or(locked.late) INTO v_late
    FROM (
        SELECT q.attempt <> r.attempt OR q.state <> 3 AS late
        FROM queue q JOIN unnest(p_records) AS r ON q.job_id = r.job_id
        ORDER BY q.seq FOR UPDATE OF q
    ) locked;

    WITH o AS MATERIALIZED (
        SELECT * FROM unnest(p_states, p_outputs, p_error_kinds, p_error_messages, p_error_retryable, p_sessions, p_steps,
            p_records)
            AS o (state, output_json, job_error_kind, job_error_message, job_error_retryable, session, step)
    ), gone AS (
        DELETE FROM queue q USING o
        WHERE q.job_id = o.job_id AND CASE WHEN o.state = 4
            THEN o.attempt BETWEEN 1 AND q.attempt AND o.step = q.step AND q.next_lane IS NULL
            ELSE q.attempt = o.attempt AND q.state = 3 AND (o.session IS NULL OR q.session = o.session) END
        RETURNING q.job_id, q.lane, q.step, q.retry_count, q.executor_id, q.start_time, q.attempt_time, q.dedup_key,
            array_to_string(q.promoted_for, ',') AS promoted, q.attempt, q.session,
            q.state = 3 AND q.attempt <> o.attempt AS was_superseded
    ), ended AS (
        INSERT INTO results (job_id, state, step, attempt, retry_count, executor_id, start_time, finish_time,
            output_json, error_kind, error_message, error_retryable)
        SELECT o.job_id, o.state, g.step, o.attempt, g.retry_count, g.executor_id, g.start_time, o.finish_time,
            o.output_json, o.job_error_kind, o.job_error_message, o.job_error_retryable
        FROM gone g JOIN o ON o.job_id = g.job_id
    )
    SELECT array_agg(o.job_id), array_agg(o.attempt), array_agg(g.dedup_key), array_agg(o.state),
        array_agg(o.job_error_kind), array_agg(o.job_error_retryable), array_agg(g.promoted), array_agg(g.step),
        array_agg(lane_model(g.lane)),
        array_agg(ROW(g.job_id, g.step, g.lane, g.executor_id, g.attempt_time, o.attempt)::attempt_run),
        coalesce(array_agg(superseded(g.job_id, g.attempt, o.finish_time)) FILTER (WHERE g.was_superseded), '{}'),
        array_agg(g.executor_id) FILTER (WHERE g.was_superseded),
        array_agg(g.session) FILTER (WHERE g.was_superseded),
        array_agg(g.job_id) FILTER (WHERE o.state <> 4 AND g.step > 1)
    INTO v_ids, v_attempts, v_keys, v_states, v_kinds, v_retryable, v_promoted, v_steps, v_models, v_runs, v_stopped,
        v_stop_executors, v_stop_sessions, v_failed_past_first
    FROM gone g JOIN o ON o.job_id = g.job_id;
    IF v_ids IS NULL THEN
        RETURN;
    END IF;
    v_used := keep_attempts(p_records || v_stopped, v_runs, v_late);
    IF v_failed_past_first IS NOT NULL THEN
        v_used := v_used || wasted_steps(v_failed_past_first);
    END IF;

    RETURN QUERY SELECT 'ended', u.id, u.attempt, NULL::text, NULL::bigint
        FROM unnest(v_ids, v_attempts) AS u (id, attempt);
    RETURN QUERY SELECT 'to_stop', u.job_id, u.attempt, u.executor_id, u.session
        FROM unnest(v_stop_executors, v_stop_sessions, v_stopped) AS u (executor_id, session);
    IF EXISTS (SELECT 1 FROM unnest(v_keys) AS k WHERE k IS NOT NULL) THEN
        SELECT array_agg(f.job_id), array_agg(f.model) INTO v_followers, v_follower_models
        FROM end_followers(v_ids, v_keys, v_states, v_kinds, v_retryable, v_promoted, v_steps, v_models, p_lifetime) AS f;
        RETURN QUERY SELECT 'changed', f.id, NULL::int, NULL::text, NULL::bigint FROM unnest(v_followers) AS f (id);
        v_used := v_used || count_ends(v_followers, v_follower_models);
    END IF;
    PERFORM add_usage(v_used);
END $$;
