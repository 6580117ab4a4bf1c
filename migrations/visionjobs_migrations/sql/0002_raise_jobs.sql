-- Lets waiting jobs stand at a better rank: a leader that a more urgent job follows, or jobs that have waited for long.
-- Their seq stays. Returns how many moved.
CREATE FUNCTION raise_jobs(p_ids uuid[], p_ranks smallint[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_count int;
BEGIN
    PERFORM lock_lanes(p_ids);
    PERFORM 1 FROM queue WHERE job_id = ANY (p_ids) ORDER BY seq FOR UPDATE;
    UPDATE queue q SET rank = r.rank, rank_time = now()
    FROM unnest(p_ids, p_ranks) AS r (id, rank) WHERE q.job_id = r.id AND q.rank > r.rank;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    -- After the move: the floor that counts is that of the new rank.
    PERFORM lower_floors(p_ids);
    RETURN v_count;
END $$;
