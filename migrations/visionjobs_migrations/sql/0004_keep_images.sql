-- Keeps images of a client from being removed until the jobs that use them are stored: called in the transaction that
-- stores them. Raises VJ001, with the hashes of those that are gone as its detail.
--
-- A purge marks images under a stronger lock, looks for unfinished jobs, and removes those that still bear its mark. So
-- it either waits for this transaction before it looks, or its mark is seen, and wiped off, here.
--
-- A collection relies on it that jobs which are younger than half a day have images that live longer than that. Whoever
-- stored or named them saw to it moments ago; one that took half a day for it is helped here.
CREATE FUNCTION keep_images(p_client text, p_sha256s bytea[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_found bytea[];
    v_touched boolean;
    v_gone text;
BEGIN
    SELECT array_agg(kept.sha256), bool_or(kept.purge_id IS NOT NULL OR kept.expire_time < now() + interval '13 hours')
        INTO v_found, v_touched
    FROM (
        SELECT i.sha256, i.purge_id, i.expire_time FROM images i
        WHERE i.client_id = p_client AND i.sha256 = ANY (p_sha256s)
        ORDER BY i.sha256 FOR KEY SHARE
    ) kept;
    v_gone := (
        SELECT string_agg(encode(wanted, 'hex'), ',') FROM unnest(p_sha256s) AS wanted
        WHERE (wanted = ANY (v_found)) IS NOT TRUE);
    IF v_gone IS NOT NULL THEN
        RAISE EXCEPTION 'images are gone' USING ERRCODE = 'VJ001', DETAIL = v_gone;
    END IF;
    IF v_touched THEN
        UPDATE images SET purge_id = NULL, expire_time = greatest(expire_time, now() + interval '24 hours')
        WHERE client_id = p_client AND sha256 = ANY (p_sha256s)
          AND (purge_id IS NOT NULL OR expire_time < now() + interval '13 hours');
    END IF;
END $$;
