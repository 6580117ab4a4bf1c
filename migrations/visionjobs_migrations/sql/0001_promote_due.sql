-- Makes SCHEDULED jobs that are due QUEUED, at their old place. Returns how many.
CREATE FUNCTION promote_due(p_limit int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_ids uuid[];
    v_count int;
BEGIN
    v_ids := ARRAY(SELECT job_id FROM queue WHERE state = 1 AND due_time <= now() ORDER BY due_time LIMIT p_limit);
    IF cardinality(v_ids) = 0 THEN
        RETURN 0;
    END IF;
    PERFORM lower_floors(v_ids);
    PERFORM 1 FROM queue WHERE job_id = ANY (v_ids) ORDER BY seq FOR UPDATE;
    UPDATE queue SET state = 2, queued_time = now(), due_time = NULL
    WHERE job_id = ANY (v_ids) AND state = 1 AND due_time <= now();
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
