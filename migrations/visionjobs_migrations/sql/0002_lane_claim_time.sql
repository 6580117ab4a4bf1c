-- When jobs of a lane may be claimed: in the past means now, null means that it takes an event, not time.
-- A probe that does not run any more, however it ended, leaves its place to the next one.
CREATE FUNCTION lane_claim_time(l lanes) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN l.paused OR l.stopped_reason IS NOT NULL THEN NULL
        WHEN l.probe_job_id IS NOT NULL AND EXISTS (
            SELECT 1 FROM queue q
            WHERE q.job_id = l.probe_job_id AND q.attempt = l.probe_attempt AND q.state = 3
        ) THEN NULL
        ELSE greatest(
            'epoch'::timestamptz,
            l.closed_until,
            l.breaker_open_until,
            -- A lane with a pace claims what it will admit in the next 3 s.
            CASE WHEN lane_needs_permits(l) THEN l.next_permit_time - interval '3 seconds' END
        )
    END
$$;
