-- Makes rows that became claimable, or will, visible to the claim: their lanes' floors go down to them.
-- Lanes are locked in the order of their names, before the caller locks any queue row.
CREATE FUNCTION lower_floors(p_ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_row record;
BEGIN
    -- Even where the floors are low enough already: a claim under way may be about to raise one past a row that it cannot
    -- see yet. And before the ranks are read, which change under the same lock.
    PERFORM lock_lanes(p_ids);
    FOR v_row IN
        SELECT q.lane, q.rank, min(q.seq) AS seq
        FROM queue q WHERE q.job_id = ANY (p_ids)
        GROUP BY q.lane, q.rank
    LOOP
        UPDATE lanes SET floors[v_row.rank] = v_row.seq
        WHERE lane = v_row.lane AND floors[v_row.rank] > v_row.seq;
    END LOOP;
END $$;
