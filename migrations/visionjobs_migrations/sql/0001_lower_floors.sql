-- Makes rows that became claimable visible to the claim: their lanes' floors go down to them.
-- Lanes are locked in the order of their names, before the caller locks any queue row.
CREATE FUNCTION lower_floors(p_ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN
        SELECT q.lane, q.rank, min(q.seq) AS seq
        FROM queue q WHERE q.job_id = ANY (p_ids)
        GROUP BY q.lane, q.rank ORDER BY q.lane, q.rank
    LOOP
        -- Even where the floor is low enough already: waiting for the lane's lock keeps a claim under way from raising
        -- the floor past a row that it cannot see yet.
        UPDATE lanes SET floors[v_row.rank] = least(floors[v_row.rank], v_row.seq) WHERE lane = v_row.lane;
    END LOOP;
END $$;
