"""Give callers keys, changes a record, and clients their limits.

Revision ID: 0003
Revises: 0002
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = ("api_keys", "signing_keys", "audit_log", "submission_pace")
_FUNCTIONS = ("keep_images", "blank_spec", "result_model")


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.add_column("queue", sa.Column("limited_client", sa.Text))
    op.create_index(
        "queue_limited_client_idx",
        "queue",
        ["limited_client"],
        postgresql_where=sa.text("limited_client IS NOT NULL"),
    )
    op.add_column("executors", sa.Column("client_id", sa.Text, nullable=False, server_default=sa.text("'anonymous'")))
    _create_keys()
    op.create_table(
        "audit_log",
        sa.Column("audit_id", sa.BigInteger, sa.Identity(always=True)),
        _time("create_time"),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.PrimaryKeyConstraint("audit_id", name="audit_log_pkey"),
    )
    op.create_table(
        "submission_pace",
        sa.Column("client_id", sa.Text),
        _time("next_time"),
        sa.PrimaryKeyConstraint("client_id", name="submission_pace_pkey"),
    )
    _prepare_purges()


def downgrade() -> None:
    _forget_purges()
    for name in reversed(_TABLES):
        op.drop_table(name)
    op.drop_column("executors", "client_id")
    op.drop_index("queue_limited_client_idx", "queue")
    op.drop_column("queue", "limited_client")


def _create_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("old_secret_hash", sa.LargeBinary),
        _time("old_secret_expire_time", nullable=True),
        sa.Column("max_priority", sa.SmallInteger),
        sa.Column("submissions_per_second", sa.Double),
        sa.Column("max_queued_jobs", sa.BigInteger),
        _time("create_time"),
        _time("last_used_time", nullable=True),
        _time("revoke_time", nullable=True),
        sa.PrimaryKeyConstraint("key_id", name="api_keys_pkey"),
    )
    op.create_table(
        "signing_keys",
        sa.Column("name", sa.Text),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        _time("create_time"),
        sa.PrimaryKeyConstraint("name", name="signing_keys_pkey"),
    )


def _prepare_purges() -> None:
    op.add_column("images", sa.Column("purge_id", sa.Uuid))
    op.add_column("jobs", _time("purge_time", nullable=True))
    op.add_column("results", sa.Column("model_version", sa.Text))
    # Builds it over the whole history, during which nothing ends.
    op.create_index(
        "results_cached_from_idx", "results", ["cached_from"], postgresql_where=sa.text("cached_from IS NOT NULL")
    )
    op.create_index("dedup_result_idx", "dedup", ["result"], postgresql_where=sa.text("result IS NOT NULL"))
    for name in _FUNCTIONS:
        text = (Path(__file__).parent.parent / "sql" / f"0003_{name}.sql").read_text()
        op.execute(sa.text(text.replace(":", r"\:")))


def _forget_purges() -> None:
    op.execute(f"DROP FUNCTION {', '.join(_FUNCTIONS)}")
    op.drop_index("dedup_result_idx", "dedup")
    op.drop_index("results_cached_from_idx", "results")
    op.drop_column("results", "model_version")
    op.drop_column("jobs", "purge_time")
    op.drop_column("images", "purge_id")
