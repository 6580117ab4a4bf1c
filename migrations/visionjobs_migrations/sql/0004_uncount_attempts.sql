-- Returns what takes back that attempts were counted which gave nothing: their rows are about to be replaced. Those of the
-- time before there were counts have no model.
CREATE FUNCTION uncount_attempts(p_ids uuid[], p_attempts int[]) RETURNS usage_entry[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        SELECT ROW(a.job_id, (a.finish_time AT TIME ZONE 'UTC')::date, a.model, 0,
            CASE WHEN a.usage IS NOT NULL THEN ARRAY(SELECT -count FROM unnest(a.usage) AS count) END, -a.cost_usd,
            -a.cost_usd, -a.unanswered::int)::usage_entry
        FROM unnest(p_ids, p_attempts) AS p (id, attempt) JOIN attempts a ON a.job_id = p.id AND a.attempt = p.attempt
        WHERE a.job_id = ANY (p_ids) AND a.model <> '');
END $$;
