-- Returns what counts the ends of jobs, each under its model; those without one did not end.
CREATE FUNCTION count_ends(p_ids uuid[], p_models text[]) RETURNS usage_entry[] LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY(
        SELECT ROW(u.id, NULL, u.model, 1, NULL, 0, 0, 0)::usage_entry
        FROM unnest(p_ids, p_models) AS u (id, model) WHERE u.model IS NOT NULL)
$$;
