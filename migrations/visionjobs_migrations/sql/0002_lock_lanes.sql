-- Locks the lanes of these jobs in the order of their names: before any queue row, as everywhere.
CREATE FUNCTION lock_lanes(p_ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM lanes
    WHERE lane IN (SELECT q.lane FROM queue q WHERE q.job_id = ANY (p_ids))
    ORDER BY lane FOR UPDATE;
END
$$;
