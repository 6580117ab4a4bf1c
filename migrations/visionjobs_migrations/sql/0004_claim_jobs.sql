-- Starts the best waiting jobs of a lane and deals them round robin over the executors' free slots, no more than the
-- lane takes now.
--
-- The lane's row is locked, so two schedulers never walk the same index entries; row locks of cancellations and the
-- like are skipped, so nothing waits here. The floors spare the walk over index entries of jobs that left: below its
-- rank's floor nothing waits, but for a row whose lock was skipped. p_thorough ignores the floors and finds it.
CREATE FUNCTION claim_jobs(
    p_lane text, p_executors text[], p_sessions bigint[], p_credits int[], p_max_rank int, p_thorough boolean
) RETURNS TABLE (
    job_id uuid, attempt int, executor_id text, client_id text, step smallint, spec json, retry_count smallint,
    traceparent text, queued_time timestamptz, attempt_time timestamptz, rank smallint, seq bigint,
    permit_required boolean, flaws text[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_lane lanes%ROWTYPE;
    v_floors bigint[];
    v_wanted int := coalesce((SELECT sum(credit) FROM unnest(p_credits) credit), 0);
    v_ids uuid[] := '{}';
    v_places int[];
    v_seqs bigint[];
    v_picked uuid[];
    v_suspected boolean;
    v_any_suspect boolean := false;
    v_claim_time timestamptz;
BEGIN
    SELECT * INTO v_lane FROM lanes WHERE lane = p_lane FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_claim_time := lane_claim_time(v_lane);
    IF v_claim_time IS NULL OR v_claim_time > now() THEN
        RETURN;
    END IF;
    v_wanted := least(v_wanted, lane_claimable(v_lane));
    v_floors := v_lane.floors;

    IF now() >= v_lane.noted_time + interval '10 seconds' THEN
        v_lane.floor_limit := v_lane.noted_seq;
        v_lane.noted_seq := (SELECT last_value FROM queue_seq);
        v_lane.noted_time := now();
    END IF;

    FOR v_rank IN 1 .. p_max_rank LOOP
        EXIT WHEN cardinality(v_ids) >= v_wanted;
        SELECT array_agg(p.job_id ORDER BY p.seq), array_agg(p.seq ORDER BY p.seq), bool_or(p.preparing_deaths > 0)
        INTO v_picked, v_seqs, v_suspected
        FROM (
            SELECT q.job_id, q.seq, q.preparing_deaths
            FROM queue q
            WHERE q.lane = p_lane AND q.state = 2 AND q.leader IS NULL AND q.rank = v_rank
              AND q.seq >= CASE WHEN p_thorough THEN 0 ELSE v_floors[v_rank] END
              AND (q.expire_time IS NULL OR q.expire_time > now())
            ORDER BY q.seq
            LIMIT v_wanted - cardinality(v_ids)
            FOR UPDATE SKIP LOCKED
        ) p;
        IF cardinality(v_ids) + coalesce(cardinality(v_picked), 0) < v_wanted THEN
            v_floors[v_rank] := greatest(v_floors[v_rank], v_lane.floor_limit);
        ELSE
            v_floors[v_rank] := greatest(
                v_floors[v_rank], least(v_seqs[cardinality(v_seqs)] + 1, v_lane.floor_limit));
        END IF;
        v_any_suspect := v_any_suspect OR coalesce(v_suspected, false);
        v_ids := v_ids || coalesce(v_picked, '{}');
    END LOOP;

    IF v_any_suspect THEN
        v_places := deal_apart(v_ids, p_executors, p_credits);
        -- One that found no slot of its own goes on waiting, above the floor; its slot is for the next that is no suspect.
        FOR v_rank IN 1 .. p_max_rank LOOP
            v_floors[v_rank] := least(v_floors[v_rank], (
                SELECT min(q.seq) FROM queue q JOIN unnest(v_ids, v_places) AS d (id, place) ON q.job_id = d.id
                WHERE d.place IS NULL AND q.rank = v_rank));
        END LOOP;
        v_ids := v_ids || ARRAY(
            SELECT q.job_id
            FROM queue q
            WHERE q.lane = p_lane AND q.state = 2 AND q.leader IS NULL AND q.rank <= p_max_rank
              AND q.seq >= CASE WHEN p_thorough THEN 0 ELSE v_floors[q.rank] END
              AND (q.expire_time IS NULL OR q.expire_time > now())
              AND q.preparing_deaths = 0 AND q.job_id <> ALL (v_ids)
            ORDER BY q.rank, q.seq
            LIMIT (SELECT count(*) FROM unnest(v_places) AS place WHERE place IS NULL)
            FOR UPDATE SKIP LOCKED);
        v_places := deal_apart(v_ids, p_executors, p_credits);
    ELSE
        v_places := ARRAY(SELECT generate_series(1, cardinality(v_ids)));
    END IF;

    IF v_floors <> v_lane.floors OR v_lane.noted_time = now() THEN
        UPDATE lanes SET floors = v_floors, floor_limit = v_lane.floor_limit, noted_seq = v_lane.noted_seq,
            noted_time = v_lane.noted_time
        WHERE lane = p_lane;
    END IF;
    IF cardinality(v_ids) = 0 THEN
        RETURN;
    END IF;

    RETURN QUERY
    WITH slots AS (
        SELECT e.id, e.session, row_number() OVER (ORDER BY deal.round, e.place) AS place
        FROM unnest(p_executors, p_sessions, p_credits) WITH ORDINALITY AS e (id, session, credit, place)
        CROSS JOIN LATERAL generate_series(1, e.credit) AS deal (round)
    ), dealt AS MATERIALIZED (
        SELECT picked.id, picked.turn, slots.id AS executor_id, slots.session
        FROM unnest(v_ids, v_places) WITH ORDINALITY AS picked (id, place, turn)
        JOIN slots USING (place)
    ), claimed AS (
        UPDATE queue q
        SET state = 3, attempt = q.attempt + 1, executor_id = dealt.executor_id, session = dealt.session,
            stage = 1, stage_time = now(), attempt_time = now(), start_time = coalesce(q.start_time, now())
        FROM dealt
        WHERE q.job_id = dealt.id
        RETURNING q.job_id, q.attempt, q.executor_id, q.step, q.retry_count, q.queued_time, q.attempt_time, q.rank,
            q.seq, q.flaws, dealt.turn
    )
    SELECT c.job_id, c.attempt, c.executor_id, j.client_id, c.step, j.spec, c.retry_count, j.traceparent,
        c.queued_time, c.attempt_time, c.rank, c.seq, lane_needs_permits(v_lane), c.flaws
    FROM claimed c JOIN jobs j ON j.job_id = c.job_id
    ORDER BY c.turn;

    IF v_lane.breaker_open_until IS NOT NULL THEN
        UPDATE lanes SET probe_job_id = q.job_id, probe_attempt = q.attempt, version = version + 1
        FROM queue q WHERE lanes.lane = p_lane AND q.job_id = ANY (v_ids) AND q.state = 3;
    END IF;
END $$;
