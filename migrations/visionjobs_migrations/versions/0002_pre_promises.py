"""Give lanes their quotas and breakers, jobs their likes, and schedulers words for each other.

Revision ID: 0002
Revises: 0001
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FUNCTIONS = (
    "lane_needs_permits",
    "lane_claim_time",
    "lane_claimable",
    "lock_lanes",
    "lock_groups",
    "lock_held",
    "lower_floors",
    "deal_apart",
    "claim_jobs",
    "give_back",
    "end_followers",
    "finish_jobs",
    "end_waiting",
    "raise_jobs",
    "raise_old",
)
_QUEUE_COLUMNS = ("dedup_key", "rank_time", "promoted_for", "timeout_seconds")
_LANE_COLUMNS = ("version", "throttles", "day", "day_count", "windows")


def upgrade() -> None:
    # In the order of a claim, which may be under way.
    _widen_lanes()
    _widen_queue()
    op.drop_table("dedup")
    _create_dedup(key=["key"], nullable_expiry=True)
    op.create_index("dedup_expire_time_idx", "dedup", ["expire_time"])
    op.add_column("executors", sa.Column("dial", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.create_table(
        "switches",
        sa.Column("name", sa.Text),
        sa.Column("is_on", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("name", name="switches_pkey"),
    )
    op.create_index("idempotency_keys_create_time_idx", "idempotency_keys", ["create_time"])
    op.execute("DROP FUNCTION claim_jobs, give_back, lower_floors")
    for name in _FUNCTIONS:
        _create_function("0002", name)


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {', '.join(reversed(_FUNCTIONS))}")
    # The older code would never end a follower; now it stands on its own, above its lane's floors.
    op.execute("UPDATE queue SET leader = NULL WHERE leader IS NOT NULL")
    op.execute("UPDATE lanes SET floors = '{0,0,0}'")
    for name in ("lower_floors", "claim_jobs", "give_back"):
        _create_function("0001", name)
    op.drop_index("idempotency_keys_create_time_idx", "idempotency_keys")
    op.drop_table("switches")
    op.drop_column("executors", "dial")
    op.drop_table("dedup")
    _create_dedup(key=["client_id", "key"], nullable_expiry=False)
    for column in _LANE_COLUMNS:
        op.drop_column("lanes", column)
    op.drop_index("queue_leader_idx", "queue")
    op.drop_index("queue_expire_idx", "queue")
    for column in _QUEUE_COLUMNS:
        op.drop_column("queue", column)


def _widen_queue() -> None:
    op.add_column("queue", sa.Column("dedup_key", sa.LargeBinary))
    op.add_column(
        "queue",
        sa.Column("rank_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )
    op.add_column("queue", sa.Column("promoted_for", sa.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")))
    # Of jobs that were there before nobody knows; an hour is the most that one may ask for.
    op.add_column("queue", sa.Column("timeout_seconds", sa.Integer, nullable=False, server_default=sa.text("3600")))
    op.create_index("queue_leader_idx", "queue", ["leader"], postgresql_where=sa.text("leader IS NOT NULL"))
    op.create_index(
        "queue_expire_idx", "queue", ["expire_time"], postgresql_where=sa.text("expire_time IS NOT NULL AND state < 3")
    )


def _widen_lanes() -> None:
    op.add_column("lanes", sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.add_column("lanes", sa.Column("throttles", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("lanes", sa.Column("day", sa.Date))
    op.add_column("lanes", sa.Column("day_count", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.add_column("lanes", sa.Column("windows", sa.JSON))


def _create_dedup(*, key: list[str], nullable_expiry: bool) -> None:
    op.create_table(
        "dedup",
        sa.Column("key", sa.LargeBinary),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("leader", sa.Uuid),
        sa.Column("result", sa.Uuid),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=nullable_expiry),
        sa.PrimaryKeyConstraint(*key, name="dedup_pkey"),
    )


def _create_function(version: str, name: str) -> None:
    text = (Path(__file__).parent.parent / "sql" / f"{version}_{name}.sql").read_text()
    op.execute(sa.text(text.replace(":", r"\:")))
