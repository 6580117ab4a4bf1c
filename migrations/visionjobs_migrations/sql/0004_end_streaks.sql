-- A success ends the failures in a row of its step's lane; an open breaker is closed by its probe alone.
CREATE FUNCTION end_streaks(p_ids uuid[], p_steps smallint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM lanes WHERE breaker_open_until IS NULL AND (breaker_failures > 0 OR throttles > 0)
    ) THEN
        RETURN;
    END IF;
    PERFORM lock_lanes(p_ids);
    UPDATE lanes SET breaker_failures = 0, throttles = 0, version = version + 1
    WHERE breaker_open_until IS NULL AND (breaker_failures > 0 OR throttles > 0) AND lane IN (
        SELECT q.lane FROM queue q JOIN unnest(p_ids, p_steps) AS u (id, step) ON q.job_id = u.id AND q.step = u.step);
END $$;
