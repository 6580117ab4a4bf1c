-- Locks the lanes of these jobs in the order of their names: before any queue row, as everywhere. Also the lane that a job
-- may go on to: who advances it locks both, so under these locks no job of theirs changes its lane.
CREATE FUNCTION lock_lanes(p_ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM lanes
    WHERE lane IN (SELECT unnest(ARRAY[q.lane, q.next_lane]) FROM queue q WHERE q.job_id = ANY (p_ids))
    ORDER BY lane FOR UPDATE;
END
$$;
