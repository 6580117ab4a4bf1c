-- How many jobs may be claimed of a lane whose claim time has come; null means any number. The running attempts are
-- counted only where a limit asks for it.
CREATE FUNCTION lane_claimable(l lanes) RETURNS int LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_claimable bigint;
    v_in_flight bigint;
    v_unpermitted bigint;
    v_admitted bigint;
BEGIN
    IF l.breaker_open_until IS NOT NULL THEN
        v_claimable := 1;
    END IF;
    IF l.max_in_flight IS NULL AND NOT lane_needs_permits(l) THEN
        RETURN v_claimable;
    END IF;
    -- Before stage 4 no call has begun.
    SELECT count(*), count(*) FILTER (WHERE q.stage < 4) INTO v_in_flight, v_unpermitted
    FROM queue q WHERE q.state = 3 AND q.lane = l.lane;
    v_claimable := least(v_claimable, l.max_in_flight - v_in_flight);
    IF lane_needs_permits(l) THEN
        -- A permit comes each (60 s + validity + slack) ÷ limit; without such a limit the pace does not tell how many
        -- it will admit.
        v_admitted := CASE WHEN l.requests_per_minute IS NULL THEN 32 ELSE
            1 + floor(extract(epoch FROM now() + interval '3 seconds' - greatest(l.next_permit_time, now()))
                * l.requests_per_minute / 60.8) END;
        v_claimable := least(v_claimable, v_admitted - v_unpermitted);
    END IF;
    -- A limit may be larger than an int.
    RETURN least(greatest(v_claimable, 0), 2147483647);
END $$;
