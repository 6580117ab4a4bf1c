-- Locks jobs and their followers in the order of seq, as everywhere, before the jobs end: that reaches the followers, and
-- would meet a cancellation that comes from their side. Jobs that nobody follows are left to the caller.
CREATE FUNCTION lock_groups(p_ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_followers uuid[] := ARRAY(SELECT q.job_id FROM queue q WHERE q.leader = ANY (p_ids));
BEGIN
    IF cardinality(v_followers) > 0 THEN
        PERFORM 1 FROM queue q WHERE q.job_id = ANY (p_ids || v_followers) ORDER BY q.seq FOR UPDATE;
    END IF;
END
$$;
