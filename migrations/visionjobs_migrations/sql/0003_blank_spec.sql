-- Returns a spec with some of its fields replaced. As json: jsonb would choke on what a text may hold, and the old texts
-- need not be looked at.
CREATE FUNCTION blank_spec(p_spec json, p_blanks json) RETURNS json LANGUAGE sql IMMUTABLE AS $$
    SELECT json_object_agg(field.key, field.value)
    FROM (
        SELECT key, value FROM json_each(p_spec) WHERE key NOT IN (SELECT json_object_keys(p_blanks))
        UNION ALL
        SELECT key, value FROM json_each(p_blanks)
    ) field
$$;
