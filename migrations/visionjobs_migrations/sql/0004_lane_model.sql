-- The model that is asked in a lane.
CREATE FUNCTION lane_model(p_lane text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(p_lane, strpos(p_lane, '/') + 1)
$$;
