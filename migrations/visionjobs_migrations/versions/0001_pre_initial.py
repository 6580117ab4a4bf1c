"""Create the queue, the history, and everything that stands beside them.

Revision ID: 0001
Revises:
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_FUNCTIONS = ("lower_floors", "claim_jobs", "promote_due", "give_back")
_TABLES = (
    "queue",
    "jobs",
    "results",
    "attempts",
    "images",
    "lanes",
    "executors",
    "commands",
    "dedup",
    "idempotency_keys",
    "usage_daily",
)


def _time(name: str, *, nullable: bool = False, server_default: sa.TextClause | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=server_default)


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("queue_seq", data_type=sa.BigInteger)))
    _create_queue()
    _create_history()
    _create_lanes_and_executors()
    _create_client_tables()
    for name in _FUNCTIONS:
        op.execute(sa.text((Path(__file__).parent.parent / "sql" / f"0001_{name}.sql").read_text().replace(":", r"\:")))


def downgrade() -> None:
    op.execute("DROP FUNCTION give_back, promote_due, claim_jobs, lower_floors")
    for name in reversed(_TABLES):
        op.drop_table(name)
    op.execute("DROP SEQUENCE queue_seq")


def _create_queue() -> None:
    op.create_table(
        "queue",
        sa.Column("job_id", sa.Uuid),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("rank", sa.SmallInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("step", sa.SmallInteger, nullable=False),
        _time("due_time", nullable=True),
        _time("expire_time", nullable=True),
        _time("queued_time"),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("retry_count", sa.SmallInteger, nullable=False),
        sa.Column("max_retries", sa.SmallInteger, nullable=False),
        sa.Column("paid_calls", sa.SmallInteger, nullable=False),
        sa.Column("preparing_deaths", sa.SmallInteger, nullable=False),
        sa.Column("executor_id", sa.Text),
        sa.Column("session", sa.BigInteger),
        sa.Column("leader", sa.Uuid),
        sa.Column("stage", sa.SmallInteger),
        _time("stage_time", nullable=True),
        _time("start_time", nullable=True),
        _time("attempt_time", nullable=True),
        sa.PrimaryKeyConstraint("job_id", name="queue_pkey"),
        postgresql_with={
            "fillfactor": 70,
            "autovacuum_vacuum_scale_factor": 0.01,
            "autovacuum_vacuum_threshold": 1000,
            "autovacuum_vacuum_cost_delay": 0,
        },
    )
    op.create_index(
        "queue_claim_idx", "queue", ["lane", "rank", "seq"], postgresql_where=sa.text("state = 2 AND leader IS NULL")
    )
    op.create_index("queue_due_idx", "queue", ["due_time"], postgresql_where=sa.text("state = 1"))
    op.create_index("queue_running_idx", "queue", ["executor_id"], postgresql_where=sa.text("state = 3"))


def _create_history() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.Uuid),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        _time("create_time"),
        sa.Column("traceparent", sa.Text, nullable=False),
        sa.Column("labels", postgresql.JSONB, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("retried_from", sa.Uuid),
        sa.PrimaryKeyConstraint("job_id", name="jobs_pkey"),
        postgresql_partition_by="RANGE (job_id)",
    )
    op.create_index("jobs_history_idx", "jobs", ["client_id", "user_id", sa.text("job_id DESC")])
    op.create_table(
        "results",
        sa.Column("job_id", sa.Uuid),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("step", sa.SmallInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("retry_count", sa.SmallInteger, nullable=False),
        sa.Column("executor_id", sa.Text),
        sa.Column("cached_from", sa.Uuid),
        _time("start_time", nullable=True),
        _time("finish_time"),
        sa.Column("output_json", sa.Text),
        sa.Column("error_kind", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("error_retryable", sa.Boolean),
        sa.PrimaryKeyConstraint("job_id", name="results_pkey"),
        postgresql_partition_by="RANGE (job_id)",
    )
    op.create_index(
        "results_retryable_idx", "results", ["job_id"], postgresql_where=sa.text("state = 5 AND error_retryable")
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Uuid),
        sa.Column("attempt", sa.Integer, autoincrement=False),
        sa.Column("step", sa.SmallInteger, nullable=False),
        sa.Column("executor_id", sa.Text),
        _time("start_time"),
        _time("finish_time"),
        sa.Column("outcome", sa.SmallInteger, nullable=False),
        sa.Column("error_kind", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("error_retryable", sa.Boolean),
        sa.Column("usage", sa.ARRAY(sa.BigInteger)),
        sa.Column("cost_usd", sa.Double, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("stage_seconds", sa.ARRAY(sa.Double), nullable=False),
        sa.Column("paid", sa.Boolean, nullable=False),
        sa.Column("raw_answer", sa.Text),
        sa.PrimaryKeyConstraint("job_id", "attempt", name="attempts_pkey"),
        postgresql_partition_by="RANGE (job_id)",
    )


def _create_lanes_and_executors() -> None:
    op.create_table(
        "lanes",
        sa.Column("lane", sa.Text),
        sa.Column("floors", sa.ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{0,0,0}'")),
        sa.Column("floor_limit", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("noted_seq", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        _time("noted_time", server_default=sa.text("now()")),
        sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("stopped_reason", sa.Text),
        sa.Column("requests_per_minute", sa.BigInteger),
        sa.Column("input_tokens_per_minute", sa.BigInteger),
        sa.Column("requests_per_day", sa.BigInteger),
        sa.Column("max_in_flight", sa.BigInteger),
        sa.Column("dollars_per_10_minutes", sa.Double),
        _time("next_permit_time", nullable=True),
        _time("closed_until", nullable=True),
        sa.Column("breaker_failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        _time("breaker_open_until", nullable=True),
        sa.Column("probe_job_id", sa.Uuid),
        sa.Column("probe_attempt", sa.Integer),
        sa.PrimaryKeyConstraint("lane", name="lanes_pkey"),
    )
    op.create_table(
        "executors",
        sa.Column("executor_id", sa.Text),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("capacity", sa.Integer, nullable=False),
        sa.Column("lanes", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("session", sa.BigInteger, nullable=False),
        sa.Column("lost_session", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        _time("connect_time"),
        _time("last_seen"),
        sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.PrimaryKeyConstraint("executor_id", name="executors_pkey"),
    )
    op.create_table(
        "commands",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True)),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payload", postgresql.JSONB, nullable=False),
        _time("create_time", server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="commands_pkey"),
    )


def _create_client_tables() -> None:
    op.create_table(
        "images",
        sa.Column("client_id", sa.Text),
        sa.Column("sha256", sa.LargeBinary),
        sa.Column("mime_type", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        _time("create_time"),
        _time("expire_time"),
        sa.PrimaryKeyConstraint("client_id", "sha256", name="images_pkey"),
    )
    op.create_table(
        "dedup",
        sa.Column("client_id", sa.Text),
        sa.Column("key", sa.LargeBinary),
        sa.Column("leader", sa.Uuid),
        sa.Column("result", sa.Uuid),
        _time("expire_time"),
        sa.PrimaryKeyConstraint("client_id", "key", name="dedup_pkey"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("client_id", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("spec_hash", sa.LargeBinary, nullable=False),
        sa.Column("job_id", sa.Uuid, nullable=False),
        _time("create_time"),
        sa.PrimaryKeyConstraint("client_id", "request_id", name="idempotency_keys_pkey"),
    )
    op.create_table(
        "usage_daily",
        sa.Column("day", sa.Date),
        sa.Column("client_id", sa.Text),
        sa.Column("user_id", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("labels_hash", sa.LargeBinary),
        sa.Column("labels", postgresql.JSONB, nullable=False),
        sa.Column("jobs", sa.BigInteger, nullable=False),
        sa.Column("usage", sa.ARRAY(sa.BigInteger), nullable=False),
        sa.Column("cost_usd", sa.Double, nullable=False),
        sa.Column("wasted_usd", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("day", "client_id", "user_id", "model", "labels_hash", name="usage_daily_pkey"),
    )
