-- The record of an attempt that ran in the place of one that succeeded late.
CREATE FUNCTION superseded(p_job uuid, p_attempt int, p_time timestamptz) RETURNS attempt_record LANGUAGE sql IMMUTABLE AS $$
    -- 6 is CANCELLED.
    SELECT ROW(p_job, p_attempt, 6, p_time, 'CANCELLED', 'An earlier attempt succeeded late.', false, NULL, 0, '', '{}',
        false, NULL, false, NULL, NULL, '')::attempt_record
$$;
