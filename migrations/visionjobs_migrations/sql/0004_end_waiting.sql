-- Ends jobs that are not final, without an outcome of theirs: CANCELLED, running or not, or EXPIRED while they wait.
-- With p_client only that client's. Returns as finish_jobs: 'changed' jobs, and attempts 'to_stop'.
CREATE FUNCTION end_waiting(p_ids uuid[], p_client text, p_state smallint)
RETURNS TABLE (what text, job_id uuid, attempt int, executor_id text, session bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_mine uuid[] := p_ids;
    v_ids uuid[];
    v_keys bytea[];
    v_promoted text[];
    v_steps smallint[];
    v_models text[];
    v_stop_ids uuid[];
    v_stop_attempts int[];
    v_stop_executors text[];
    v_stop_sessions bigint[];
    v_past_first uuid[];
    v_used usage_entry[];
BEGIN
    IF p_client IS NOT NULL THEN
        -- Before any lock: Postgres 18 looks into the wrong partition for a row that it has to look at a second time.
        v_mine := ARRAY(SELECT j.job_id FROM jobs j WHERE j.job_id = ANY (p_ids) AND j.client_id = p_client);
    END IF;
    PERFORM lock_lanes(v_mine);
    PERFORM lock_groups(v_mine);
    WITH locked AS MATERIALIZED (
        SELECT q.job_id FROM queue q
        WHERE q.job_id = ANY (v_mine) AND (p_state = 6 OR (q.state < 3 AND q.expire_time <= now()))
        ORDER BY q.seq FOR UPDATE OF q
    ), gone AS (
        DELETE FROM queue q USING locked WHERE q.job_id = locked.job_id
        RETURNING q.job_id, q.lane, q.step, q.attempt, q.retry_count, q.executor_id, q.session, q.state, q.start_time,
            q.attempt_time, array_to_string(q.promoted_for, ',') AS promoted,
            -- The end of a follower is its own.
            CASE WHEN q.leader IS NULL THEN q.dedup_key END AS dedup_key
    ), ended AS (
        INSERT INTO results (job_id, state, step, attempt, retry_count, executor_id, start_time, finish_time)
        SELECT job_id, p_state, step, attempt, retry_count, executor_id, start_time, now() FROM gone
    ), attempted AS (
        -- 6 is CANCELLED; what the attempt cost is filled in when its executor tells it.
        INSERT INTO attempts (job_id, attempt, step, model, executor_id, start_time, finish_time, outcome, error_kind,
            error_message, error_retryable, cost_usd, model_version, stage_seconds, paid)
        SELECT job_id, attempt, step, lane_model(lane), executor_id, coalesce(attempt_time, now()), now(), 6, 'CANCELLED',
            'The job was cancelled.', false, 0, '', '{}', false
        FROM gone WHERE state = 3
        ON CONFLICT DO NOTHING
    )
    SELECT array_agg(job_id), array_agg(dedup_key), array_agg(promoted), array_agg(step), array_agg(lane_model(lane)),
        array_agg(job_id) FILTER (WHERE step > 1),
        array_agg(job_id) FILTER (WHERE state = 3), array_agg(attempt) FILTER (WHERE state = 3),
        array_agg(executor_id) FILTER (WHERE state = 3), array_agg(session) FILTER (WHERE state = 3)
    INTO v_ids, v_keys, v_promoted, v_steps, v_models, v_past_first, v_stop_ids, v_stop_attempts, v_stop_executors,
        v_stop_sessions
    FROM gone;
    IF v_ids IS NULL THEN
        RETURN;
    END IF;
    v_used := count_ends(v_ids, v_models);
    IF v_past_first IS NOT NULL THEN
        v_used := v_used || wasted_steps(v_past_first);
    END IF;

    RETURN QUERY SELECT 'changed', u.id, NULL::int, NULL::text, NULL::bigint FROM unnest(v_ids) AS u (id);
    RETURN QUERY SELECT 'to_stop', u.id, u.attempt, u.executor_id, u.session
        FROM unnest(v_stop_ids, v_stop_attempts, v_stop_executors, v_stop_sessions)
            AS u (id, attempt, executor_id, session);
    IF EXISTS (SELECT 1 FROM unnest(v_keys) AS k WHERE k IS NOT NULL) THEN
        -- None of them ends by this: one leads from now on.
        RETURN QUERY SELECT 'changed', f.job_id, NULL::int, NULL::text, NULL::bigint
            FROM end_followers(v_ids, v_keys, array_fill(p_state, ARRAY[cardinality(v_ids)]),
                array_fill(NULL::text, ARRAY[cardinality(v_ids)]), array_fill(NULL::boolean, ARRAY[cardinality(v_ids)]),
                v_promoted, v_steps, v_models, '0 s') AS f;
    END IF;
    PERFORM add_usage(v_used);
END $$;
