-- Deals jobs over slots so that jobs that may have killed an executor never share one. Returns for each job the place
-- of its slot in the round robin over the executors, null if none is left for it.
CREATE FUNCTION deal_apart(p_ids uuid[], p_executors text[], p_credits int[]) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    v_free text[];
    v_with_suspect text[];
    v_places int[] := '{}';
    v_place int;
    -- No slot before these is left, for any job and for a suspect: what one may not have, the next may not have either.
    v_next int := 1;
    v_next_apart int := 1;
    v_job record;
BEGIN
    v_free := ARRAY(
        SELECT e.id FROM unnest(p_executors, p_credits) WITH ORDINALITY AS e (id, credit, place)
        CROSS JOIN LATERAL generate_series(1, e.credit) AS deal (round) ORDER BY deal.round, e.place);
    v_with_suspect := ARRAY(SELECT DISTINCT q.executor_id FROM queue q WHERE q.state = 3 AND q.preparing_deaths > 0);
    FOR v_job IN
        SELECT q.preparing_deaths > 0 AS suspected
        FROM unnest(p_ids) WITH ORDINALITY AS p (id, turn) JOIN queue q ON q.job_id = p.id ORDER BY p.turn
    LOOP
        WHILE v_next <= cardinality(v_free) AND v_free[v_next] IS NULL LOOP
            v_next := v_next + 1;
        END LOOP;
        v_place := v_next;
        IF v_job.suspected THEN
            WHILE v_next_apart <= cardinality(v_free)
                AND (v_free[v_next_apart] IS NULL OR v_free[v_next_apart] = ANY (v_with_suspect))
            LOOP
                v_next_apart := v_next_apart + 1;
            END LOOP;
            v_place := v_next_apart;
        END IF;
        IF v_place > cardinality(v_free) THEN
            v_place := NULL;
        ELSE
            IF v_job.suspected THEN
                v_with_suspect := v_with_suspect || v_free[v_place];
            END IF;
            v_free[v_place] := NULL;
        END IF;
        v_places := v_places || v_place;
    END LOOP;
    RETURN v_places;
END $$;
