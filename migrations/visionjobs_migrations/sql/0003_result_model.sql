-- Returns the version of the model that gave the output which a job keeps. A function, so that an update may ask for it:
-- Postgres 18 crashes where one that looks at a row twice has a subquery on a partitioned table.
CREATE FUNCTION result_model(p_job uuid) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(r.model_version, (
            SELECT a.model_version FROM attempts a WHERE a.job_id = r.job_id AND a.attempt = r.attempt))
        FROM results r WHERE r.job_id = p_job);
END $$;
