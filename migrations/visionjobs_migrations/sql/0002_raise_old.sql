-- Raises jobs by one rank that stood for p_age at theirs; returns how many. The oldest of each lane and rank are found
-- by their seq: where the first has not stood for long, no other has, but for some that came back or were raised lately.
CREATE FUNCTION raise_old(p_age interval, p_limit int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_ids uuid[];
    v_ranks smallint[];
BEGIN
    SELECT array_agg(old.job_id), array_agg((old.rank - 1)::smallint) INTO v_ids, v_ranks
    FROM lanes l CROSS JOIN generate_series(2, 3) AS r (rank) CROSS JOIN LATERAL (
        SELECT first.job_id, first.rank FROM (
            SELECT q.job_id, q.rank, q.rank_time FROM queue q
            WHERE q.lane = l.lane AND q.rank = r.rank AND q.state = 2 AND q.leader IS NULL
              AND q.seq >= l.floors[r.rank] AND (q.expire_time IS NULL OR q.expire_time > now())
            ORDER BY q.seq LIMIT p_limit
        ) first WHERE first.rank_time <= now() - p_age
    ) old;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    RETURN raise_jobs(v_ids, v_ranks);
END $$;
