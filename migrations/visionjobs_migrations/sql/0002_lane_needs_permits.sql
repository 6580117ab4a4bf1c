-- Whether a call in this lane needs a permit. The number in flight is watched at the claim instead.
CREATE FUNCTION lane_needs_permits(l lanes) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT l.requests_per_minute IS NOT NULL OR l.input_tokens_per_minute IS NOT NULL
        OR l.requests_per_day IS NOT NULL OR l.dollars_per_10_minutes IS NOT NULL
$$;
