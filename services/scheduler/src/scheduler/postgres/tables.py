"""The tables, as SQLAlchemy metadata: what the migrations must add up to.

`queue` is hot and narrow: one row for each job that is not final. `jobs`, `results`, `attempts` and `step_outputs` are
written once and partitioned by job id; ids are UUIDv7 and begin with their time, so a partition is a day. `client_id` is part of
the keys of everything that belongs to a client.
"""

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


queue_seq = Sequence("queue_seq", metadata=metadata, data_type=BigInteger)

queue = Table(
    "queue",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("lane", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("rank", SmallInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("step", SmallInteger, nullable=False),
    _time("due_time", nullable=True),
    _time("expire_time", nullable=True),
    _time("queued_time"),
    Column("attempt", Integer, nullable=False),
    Column("retry_count", SmallInteger, nullable=False),
    Column("max_retries", SmallInteger, nullable=False),
    Column("paid_calls", SmallInteger, nullable=False),
    Column("preparing_deaths", SmallInteger, nullable=False),
    Column("executor_id", Text),
    Column("session", BigInteger),
    Column("leader", Uuid),
    Column("stage", SmallInteger),
    _time("stage_time", nullable=True),
    _time("start_time", nullable=True),
    _time("attempt_time", nullable=True),
    # The same for identical requests of one client; null takes part in nothing.
    Column("dedup_key", LargeBinary),
    Column("rank_time", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    # The kinds of failure after which a follower became a leader.
    Column("promoted_for", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("timeout_seconds", Integer, nullable=False, server_default=text("3600")),
    # The job's client, if it may have only so many; null keeps the row out of the index that counts them.
    Column("limited_client", Text),
    # Where the job waits after its present step; null in its last one.
    Column("next_lane", Text),
    # What was wrong with the answers of its present step, oldest first.
    Column("flaws", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # Full pages would push every update to another page and bloat the table.
    postgresql_with={
        "fillfactor": 70,
        "autovacuum_vacuum_scale_factor": 0.01,
        "autovacuum_vacuum_threshold": 1000,
        "autovacuum_vacuum_cost_delay": 0,
    },
)
Index(
    "queue_claim_idx",
    queue.c.lane,
    queue.c.rank,
    queue.c.seq,
    postgresql_where=text("state = 2 AND leader IS NULL"),
)
Index("queue_due_idx", queue.c.due_time, postgresql_where=text("state = 1"))
Index("queue_leader_idx", queue.c.leader, postgresql_where=text("leader IS NOT NULL"))
Index("queue_expire_idx", queue.c.expire_time, postgresql_where=text("expire_time IS NOT NULL AND state < 3"))
Index("queue_limited_client_idx", queue.c.limited_client, postgresql_where=text("limited_client IS NOT NULL"))
Index("queue_running_idx", queue.c.executor_id, postgresql_where=text("state = 3"))

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    _time("create_time"),
    Column("traceparent", Text, nullable=False),
    Column("labels", JSONB, nullable=False),
    # json, not jsonb: nothing searches it, and jsonb costs a parse at every insert.
    Column("spec", JSON, nullable=False),
    Column("retried_from", Uuid),
    # When its content was removed.
    _time("purge_time", nullable=True),
    postgresql_partition_by="RANGE (job_id)",
)
Index("jobs_history_idx", jobs.c.client_id, jobs.c.user_id, jobs.c.job_id.desc())

results = Table(
    "results",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("state", SmallInteger, nullable=False),
    Column("step", SmallInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("retry_count", SmallInteger, nullable=False),
    Column("executor_id", Text),
    # The job that keeps the output: the one that paid, or one that it was handed on to, which names itself.
    Column("cached_from", Uuid),
    _time("start_time", nullable=True),
    _time("finish_time"),
    Column("output_json", Text),
    Column("error_kind", Text),
    Column("error_message", Text),
    Column("error_retryable", Boolean),
    # Of an output that was handed on; else the attempt tells.
    Column("model_version", Text),
    postgresql_partition_by="RANGE (job_id)",
)
Index(
    "results_retryable_idx",
    results.c.job_id,
    postgresql_where=text("state = 5 AND error_retryable"),
)
Index("results_cached_from_idx", results.c.cached_from, postgresql_where=text("cached_from IS NOT NULL"))

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("step", SmallInteger, nullable=False),
    Column("executor_id", Text),
    _time("start_time"),
    _time("finish_time"),
    Column("outcome", SmallInteger, nullable=False),
    Column("error_kind", Text),
    Column("error_message", Text),
    Column("error_retryable", Boolean),
    # input, output, thinking, cached, image tokens.
    Column("usage", ARRAY(BigInteger)),
    Column("cost_usd", Double, nullable=False),
    Column("model_version", Text, nullable=False),
    # Seconds in each stage, by the stage's number from 1.
    Column("stage_seconds", ARRAY(Double), nullable=False),
    Column("paid", Boolean, nullable=False),
    Column("raw_answer", Text),
    # What was asked for; "" for attempts that ended before this was stored.
    Column("model", Text, nullable=False, server_default=text("''")),
    # Sent, but no answer came: what it cost is not known.
    Column("unanswered", Boolean, nullable=False, server_default=text("false")),
    Column("flaw", Text),
    Column("output_path", Text),
    Column("service_tier", Text, nullable=False, server_default=text("''")),
    postgresql_partition_by="RANGE (job_id)",
)

# What the first step of a job gave, from its end on.
step_outputs = Table(
    "step_outputs",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("output_json", Text, nullable=False),
    # The job's own attempt that gave it; null if another job's did.
    Column("attempt", Integer),
    postgresql_partition_by="RANGE (job_id)",
)

images = Table(
    "images",
    metadata,
    Column("client_id", Text, primary_key=True),
    Column("sha256", LargeBinary, primary_key=True),
    Column("mime_type", Text, nullable=False),
    Column("size", Integer, nullable=False),
    # Null for one whose bytes are stored elsewhere: where its object_key says, the URL of an object.
    Column("data", LargeBinary),
    _time("create_time"),
    _time("expire_time"),
    # The purge that removes it, unless somebody asks for it before.
    Column("purge_id", Uuid),
    Column("object_key", Text),
)
Index("images_expire_time_idx", images.c.expire_time)

# Objects that no image names: they are about to be written, or to be removed.
image_objects = Table(
    "image_objects",
    metadata,
    Column("object_key", Text, primary_key=True),
    # Not before it; one that is in the past for ever will never be named again.
    _time("remove_time"),
)

refusals = Table(
    "refusals",
    metadata,
    Column("client_id", Text, primary_key=True),
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    # SHA-256, of the image's bytes or of the schema's text.
    Column("key", LargeBinary, primary_key=True),
    Column("lane", Text, primary_key=True),
    Column("count", Integer, nullable=False),
    _time("refuse_time"),
    # Nothing with it is tried before; null while it is tried.
    _time("until_time", nullable=True),
    Column("message", Text, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("message", Text, nullable=False),
    _time("start_time"),
    _time("end_time", nullable=True),
)
Index("alerts_active_idx", alerts.c.name, alerts.c.subject, unique=True, postgresql_where=text("end_time IS NULL"))

lanes = Table(
    "lanes",
    metadata,
    Column("lane", Text, primary_key=True),
    # For each rank, a seq below which nothing waits.
    Column("floors", ARRAY(BigInteger), nullable=False, server_default=text("'{0,0,0}'")),
    # The floors never pass floor_limit, a value of queue_seq that is at least 10 s old: a submission draws its seq
    # before it commits. noted_seq becomes the next limit.
    Column("floor_limit", BigInteger, nullable=False, server_default=text("0")),
    Column("noted_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("noted_time", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("stopped_reason", Text),
    Column("requests_per_minute", BigInteger),
    Column("input_tokens_per_minute", BigInteger),
    Column("requests_per_day", BigInteger),
    Column("max_in_flight", BigInteger),
    Column("dollars_per_10_minutes", Double),
    _time("next_permit_time", nullable=True),
    _time("closed_until", nullable=True),
    Column("breaker_failures", Integer, nullable=False, server_default=text("0")),
    _time("breaker_open_until", nullable=True),
    Column("probe_job_id", Uuid),
    Column("probe_attempt", Integer),
    # Raised by every change but that of the floors: changes are compare-and-set.
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    # 429s in a row that named no time.
    Column("throttles", Integer, nullable=False, server_default=text("0")),
    Column("day", Date),
    Column("day_count", BigInteger, nullable=False, server_default=text("0")),
    # What was used lately: tokens of the last minute, dollars of the last ten.
    Column("windows", JSON),
)

executors = Table(
    "executors",
    metadata,
    Column("executor_id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("lanes", ARRAY(Text), nullable=False),
    Column("session", BigInteger, nullable=False),
    # Of the hello that began the session; rises with every dial of a boot.
    Column("dial", BigInteger, nullable=False, server_default=text("0")),
    # Sessions up to this one are lost.
    Column("lost_session", BigInteger, nullable=False, server_default=text("0")),
    _time("connect_time"),
    _time("last_seen"),
    Column("draining", Boolean, nullable=False, server_default=text("false")),
    # Of the key that said hello; another client's key cannot take its place.
    Column("client_id", Text, nullable=False, server_default=text("'anonymous'")),
)

commands = Table(
    "commands",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)

dedup = Table(
    "dedup",
    metadata,
    # Made of the client and the request, so that no key is shared between clients.
    Column("key", LargeBinary, primary_key=True),
    Column("client_id", Text, nullable=False),
    # The job in flight that others of the key follow.
    Column("leader", Uuid),
    # The job that last succeeded, and until when it answers.
    Column("result", Uuid),
    _time("expire_time", nullable=True),
)
Index("dedup_expire_time_idx", dedup.c.expire_time)
Index("dedup_result_idx", dedup.c.result, postgresql_where=text("result IS NOT NULL"))

switches = Table(
    "switches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("is_on", Boolean, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("client_id", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("spec_hash", LargeBinary, nullable=False),
    Column("job_id", Uuid, nullable=False),
    _time("create_time"),
)
Index("idempotency_keys_create_time_idx", idempotency_keys.c.create_time)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("role", SmallInteger, nullable=False),
    # SHA-256 of the whole key: 256 random bits need no slow hash.
    Column("secret_hash", LargeBinary, nullable=False),
    Column("old_secret_hash", LargeBinary),
    _time("old_secret_expire_time", nullable=True),
    Column("max_priority", SmallInteger),
    Column("submissions_per_second", Double),
    Column("max_queued_jobs", BigInteger),
    _time("create_time"),
    _time("last_used_time", nullable=True),
    _time("revoke_time", nullable=True),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    _time("create_time"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True), primary_key=True),
    _time("create_time"),
    Column("key_id", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("request", JSON, nullable=False),
    # Null until the change was made or refused.
    Column("outcome", Text),
)

submission_pace = Table(
    "submission_pace",
    metadata,
    Column("client_id", Text, primary_key=True),
    # When the client's submissions so far are worked off at its rate.
    _time("next_time"),
)

usage_daily = Table(
    "usage_daily",
    metadata,
    Column("day", Date, primary_key=True),
    Column("client_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("labels_hash", LargeBinary, primary_key=True),
    Column("labels", JSONB, nullable=False),
    Column("jobs", BigInteger, nullable=False),
    Column("usage", ARRAY(BigInteger), nullable=False),
    Column("cost_usd", Double, nullable=False),
    # The part of it that gave no accepted result.
    Column("wasted_usd", Double, nullable=False),
    Column("unanswered_calls", BigInteger, nullable=False, server_default=text("0")),
    postgresql_with={"fillfactor": 70},
)
