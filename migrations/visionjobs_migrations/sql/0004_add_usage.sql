-- Counts what jobs used, for the days, users, models and labels it belongs to; a day that is null is today, in UTC.
--
-- Called once in a transaction, and last: rows of usage_daily are locked after everything else and in the order of their
-- keys, so that two who count for the same users wait for each other instead of deadlocking.
CREATE FUNCTION add_usage(p_entries usage_entry[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- Of so many ids the planner knows that an index finds them; of a join it may think that it pays to read all jobs.
    v_ids uuid[] := ARRAY(SELECT DISTINCT e.job_id FROM unnest(p_entries) AS e);
BEGIN
    WITH used AS MATERIALIZED (
        SELECT coalesce(e.day, (now() AT TIME ZONE 'UTC')::date) AS day, j.client_id, j.user_id, e.model, j.labels,
            sum(e.jobs) AS jobs, sum(e.usage[1])::bigint AS input_tokens, sum(e.usage[2])::bigint AS output_tokens,
            sum(e.usage[3])::bigint AS thinking_tokens, sum(e.usage[4])::bigint AS cached_tokens,
            sum(e.usage[5])::bigint AS image_tokens, sum(e.cost_usd) AS cost_usd, sum(e.wasted_usd) AS wasted_usd,
            sum(e.unanswered) AS unanswered
        FROM unnest(p_entries) AS e JOIN jobs j ON j.job_id = e.job_id
        WHERE j.job_id = ANY (v_ids) AND (
            e.jobs <> 0 OR e.usage IS NOT NULL OR e.cost_usd <> 0 OR e.wasted_usd <> 0 OR e.unanswered <> 0)
        GROUP BY 1, 2, 3, 4, 5
    )
    INSERT INTO usage_daily AS u (day, client_id, user_id, model, labels_hash, labels, jobs, usage, cost_usd, wasted_usd,
        unanswered_calls)
    SELECT day, client_id, user_id, model, sha256(convert_to(labels::text, 'UTF8')) AS labels_hash, labels, jobs,
        ARRAY[coalesce(input_tokens, 0), coalesce(output_tokens, 0), coalesce(thinking_tokens, 0),
            coalesce(cached_tokens, 0), coalesce(image_tokens, 0)],
        cost_usd, wasted_usd, unanswered
    FROM used ORDER BY day, client_id, user_id, model, labels_hash
    ON CONFLICT (day, client_id, user_id, model, labels_hash) DO UPDATE
    SET jobs = u.jobs + excluded.jobs,
        usage = ARRAY[u.usage[1] + excluded.usage[1], u.usage[2] + excluded.usage[2], u.usage[3] + excluded.usage[3],
            u.usage[4] + excluded.usage[4], u.usage[5] + excluded.usage[5]],
        cost_usd = u.cost_usd + excluded.cost_usd, wasted_usd = u.wasted_usd + excluded.wasted_usd,
        unanswered_calls = u.unanswered_calls + excluded.unanswered_calls;
END $$;
