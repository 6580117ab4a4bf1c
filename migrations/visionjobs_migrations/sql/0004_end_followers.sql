-- Draws the consequences that the ends of jobs have for identical ones. p_promoted holds, by comma, the kinds of failure
-- after which each job became a leader; p_models the model that each was in the lane of. Returns the followers that are in
-- another state now, those that ended with the model of their leader.
--
-- A success answers all followers, and later submissions for p_lifetime. A failure that is not retryable ends them
-- alike; so does a second one of the same kind. Otherwise the oldest follower leads from now on, and takes over the step
-- that its leader was in, with what the step before gave.
--
-- The caller has locked the lanes of all jobs that did not succeed, for a promoted follower lowers its lane's floor, and
-- the jobs with their followers. Keys are locked in their order; a submission that follows one of these jobs holds its
-- key until it has committed, so every follower is seen here.
CREATE FUNCTION end_followers(
    p_ids uuid[], p_keys bytea[], p_states smallint[], p_kinds text[], p_retryable boolean[], p_promoted text[],
    p_steps smallint[], p_models text[], p_lifetime interval
) RETURNS TABLE (job_id uuid, model text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_ended record;
    v_oldest uuid;
    v_moves boolean;
    v_rank smallint;
BEGIN
    -- A job that had to wait for a time did not take part, and its key may be new; its result counts all the same.
    INSERT INTO dedup AS d (key, client_id, result, expire_time)
    SELECT e.key,
        coalesce((SELECT k.client_id FROM dedup k WHERE k.key = e.key),
            (SELECT j.client_id FROM jobs j WHERE j.job_id = e.id)),
        e.success, CASE WHEN e.success IS NOT NULL THEN now() + p_lifetime END
    FROM (
        SELECT u.key, (array_agg(u.id))[1] AS id, (array_agg(u.id) FILTER (WHERE u.state = 4))[1] AS success
        FROM unnest(p_ids, p_keys, p_states) AS u (id, key, state) WHERE u.key IS NOT NULL GROUP BY u.key
    ) e
    ORDER BY e.key
    ON CONFLICT (key) DO UPDATE
    SET leader = CASE WHEN d.leader = ANY (p_ids) THEN NULL ELSE d.leader END,
        result = coalesce(excluded.result, d.result), expire_time = coalesce(excluded.expire_time, d.expire_time);

    FOR v_ended IN
        SELECT u.* FROM unnest(p_ids, p_keys, p_states, p_kinds, p_retryable, p_promoted, p_steps, p_models)
            AS u (id, key, state, kind, retryable, promoted, step, model)
        WHERE u.id IN (SELECT q.leader FROM queue q WHERE q.leader = ANY (p_ids))
    LOOP
        IF v_ended.state = 4 OR (v_ended.state = 5 AND NOT (
            coalesce(v_ended.retryable, false) AND v_ended.kind <> ALL (string_to_array(v_ended.promoted, ','))
        )) THEN
            RETURN QUERY
            WITH gone AS (
                DELETE FROM queue q WHERE q.leader = v_ended.id RETURNING q.job_id, q.retry_count
            ), ended AS (
                -- The output is read through cached_from: thousands may follow, and a copy for each would take too long.
                INSERT INTO results (job_id, state, step, attempt, retry_count, cached_from, finish_time, error_kind,
                    error_message, error_retryable)
                SELECT g.job_id, r.state, r.step, 0, g.retry_count,
                    CASE WHEN r.state = 4 THEN coalesce(r.cached_from, r.job_id) END, r.finish_time, r.error_kind,
                    r.error_message, r.error_retryable
                FROM gone g CROSS JOIN results r WHERE r.job_id = v_ended.id
            )
            SELECT g.job_id, v_ended.model FROM gone g;
        ELSE
            SELECT q.job_id, q.step < v_ended.step INTO v_oldest, v_moves
            FROM queue q WHERE q.leader = v_ended.id ORDER BY q.seq LIMIT 1;
            SELECT min(q.rank) INTO v_rank FROM queue q WHERE q.leader = v_ended.id;
            IF v_moves THEN
                -- It is there: only those of jobs that are final are removed.
                INSERT INTO step_outputs (job_id, output_json)
                SELECT v_oldest, s.output_json FROM step_outputs s WHERE s.job_id = v_ended.id;
            END IF;
            UPDATE queue q
            SET leader = NULL, queued_time = now(), rank = v_rank,
                lane = CASE WHEN v_moves THEN q.next_lane ELSE q.lane END,
                next_lane = CASE WHEN NOT v_moves THEN q.next_lane END,
                step = CASE WHEN v_moves THEN v_ended.step ELSE q.step END,
                rank_time = CASE WHEN q.rank > v_rank THEN now() ELSE q.rank_time END,
                promoted_for = CASE WHEN v_ended.state = 5
                    THEN string_to_array(v_ended.promoted, ',') || v_ended.kind
                    ELSE string_to_array(v_ended.promoted, ',') END
            WHERE q.job_id = v_oldest;
            UPDATE queue q SET leader = v_oldest WHERE q.leader = v_ended.id;
            UPDATE dedup d SET leader = v_oldest WHERE d.key = v_ended.key;
            PERFORM lower_floors(ARRAY[v_oldest]);
            RETURN QUERY SELECT v_oldest, NULL::text;
        END IF;
    END LOOP;
    DELETE FROM dedup d WHERE d.key = ANY (p_keys) AND d.leader IS NULL AND d.result IS NULL;
END $$;
