-- Lets jobs wait in the lane of their next step, at their old place, with what the step before gave; each job named once. Its
-- attempt need not be the running one, as for a success in finish_jobs, but the job must still be in its step. Retries, paid
-- calls, deaths and flaws are counted anew.
--
-- Returns as finish_jobs: 'ended' attempts, each of which brought its job on, and attempts 'to_stop'.
CREATE FUNCTION advance_jobs(p_records attempt_record[], p_outputs text[], p_steps smallint[])
RETURNS TABLE (what text, job_id uuid, attempt int, executor_id text, session bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_ids uuid[] := ARRAY(SELECT r.job_id FROM unnest(p_records) AS r);
    v_attempts int[];
    v_late boolean;
    v_runs attempt_run[];
    v_stopped attempt_record[];
    v_stop_executors text[];
    v_stop_sessions bigint[];
BEGIN
    PERFORM lock_lanes(v_ids);
    PERFORM end_streaks(v_ids, p_steps);
    SELECT bool_or(locked.late) INTO v_late
    FROM (
        SELECT q.attempt <> r.attempt OR q.state <> 3 AS late
        FROM queue q JOIN unnest(p_records) AS r ON q.job_id = r.job_id
        ORDER BY q.seq FOR UPDATE OF q
    ) locked;

    WITH o AS MATERIALIZED (
        SELECT * FROM unnest(p_outputs, p_steps, p_records) AS o (output_json, step)
    ), passed AS MATERIALIZED (
        SELECT q.job_id, q.lane, q.step, q.attempt, q.executor_id, q.session, q.attempt_time, o.attempt AS passed_by,
            o.finish_time, q.state = 3 AND q.attempt <> o.attempt AS was_superseded
        FROM queue q JOIN o ON o.job_id = q.job_id
        WHERE o.attempt BETWEEN 1 AND q.attempt AND o.step = q.step AND q.next_lane IS NOT NULL
    ), moved AS (
        UPDATE queue q
        SET lane = q.next_lane, next_lane = NULL, step = q.step + 1, state = 2, due_time = NULL, queued_time = now(),
            retry_count = 0, paid_calls = 0, preparing_deaths = 0, flaws = '{}', session = NULL, stage = NULL,
            stage_time = NULL
        FROM passed p WHERE q.job_id = p.job_id
    ), kept AS (
        INSERT INTO step_outputs (job_id, output_json, attempt)
        SELECT p.job_id, o.output_json, p.passed_by FROM passed p JOIN o ON o.job_id = p.job_id
    )
    SELECT array_agg(p.job_id), array_agg(p.passed_by),
        array_agg(ROW(p.job_id, p.step, p.lane, p.executor_id, p.attempt_time, NULL)::attempt_run),
        coalesce(array_agg(superseded(p.job_id, p.attempt, p.finish_time)) FILTER (WHERE p.was_superseded), '{}'),
        array_agg(p.executor_id) FILTER (WHERE p.was_superseded),
        array_agg(p.session) FILTER (WHERE p.was_superseded)
    INTO v_ids, v_attempts, v_runs, v_stopped, v_stop_executors, v_stop_sessions
    FROM passed p;
    IF v_ids IS NULL THEN
        RETURN;
    END IF;
    -- After the move: the floor that counts is that of the new lane.
    PERFORM lower_floors(v_ids);

    RETURN QUERY SELECT 'ended', u.id, u.attempt, NULL::text, NULL::bigint
        FROM unnest(v_ids, v_attempts) AS u (id, attempt);
    RETURN QUERY SELECT 'to_stop', u.job_id, u.attempt, u.executor_id, u.session
        FROM unnest(v_stop_executors, v_stop_sessions, v_stopped) AS u (executor_id, session);
    PERFORM add_usage(keep_attempts(p_records || v_stopped, v_runs, v_late));
END $$;
