"""Let jobs have a second step, attempts say what they cost and why, and images live elsewhere.

Revision ID: 0004
Revises: 0003
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_QUEUE_COLUMNS = ("next_lane", "flaws")
_ATTEMPT_COLUMNS = ("model", "unanswered", "flaw", "output_path", "service_tier")
_TABLES = ("step_outputs", "image_objects", "refusals", "alerts")
# Each after those whose types it is made of.
_TYPES = {
    "attempt_record": """job_id uuid, attempt int, outcome smallint, finish_time timestamptz, error_kind text,
        error_message text, error_retryable boolean, usage bigint[], cost_usd float8, model_version text,
        stage_seconds float8[], paid boolean, raw_answer text, unanswered boolean, flaw text, output_path text,
        service_tier text""",
    # Where attempts of a job ran, and which of them ended it, if one did.
    "attempt_run": """job_id uuid, step smallint, lane text, executor_id text, start_time timestamptz, ended_by int""",
    "usage_entry": """job_id uuid, day date, model text, jobs int, usage bigint[], cost_usd float8, wasted_usd float8,
        unanswered int""",
}
_OLDER_FUNCTIONS = {
    "lock_lanes": "0002",
    "claim_jobs": "0002",
    "give_back": "0002",
    "end_followers": "0002",
    "finish_jobs": "0002",
    "end_waiting": "0002",
    "keep_images": "0003",
}
_FUNCTIONS = (
    "lane_model",
    "lock_lanes",
    "attempt_records",
    "superseded",
    "count_ends",
    "uncount_attempts",
    "wasted_steps",
    "keep_attempts",
    "add_usage",
    "end_streaks",
    "claim_jobs",
    "give_back",
    "end_followers",
    "finish_jobs",
    "advance_jobs",
    "end_waiting",
    "note_late",
    "keep_images",
)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Text, nullable=False, server_default=sa.text("''"))


def upgrade() -> None:
    op.add_column("queue", sa.Column("next_lane", sa.Text))
    op.add_column("queue", sa.Column("flaws", sa.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")))
    op.add_column("attempts", _text("model"))
    op.add_column("attempts", sa.Column("unanswered", sa.Boolean, nullable=False, server_default=sa.text("false")))
    op.add_column("attempts", sa.Column("flaw", sa.Text))
    op.add_column("attempts", sa.Column("output_path", sa.Text))
    op.add_column("attempts", _text("service_tier"))
    _create_step_outputs()
    _let_images_live_elsewhere()
    op.create_table(
        "refusals",
        sa.Column("client_id", sa.Text),
        sa.Column("kind", sa.SmallInteger, autoincrement=False),
        sa.Column("key", sa.LargeBinary),
        sa.Column("lane", sa.Text),
        sa.Column("count", sa.Integer, nullable=False),
        _time("refuse_time"),
        _time("until_time", nullable=True),
        sa.Column("message", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("client_id", "kind", "key", "lane", name="refusals_pkey"),
    )
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.BigInteger, sa.Identity(always=True)),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        _time("start_time"),
        _time("end_time", nullable=True),
        sa.PrimaryKeyConstraint("alert_id", name="alerts_pkey"),
    )
    op.create_index(
        "alerts_active_idx", "alerts", ["name", "subject"], unique=True, postgresql_where=sa.text("end_time IS NULL")
    )
    op.add_column(
        "usage_daily", sa.Column("unanswered_calls", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    )
    # Each end of a job updates a row, which finds room in its page.
    op.execute("ALTER TABLE usage_daily SET (fillfactor = 70)")
    op.execute(f"DROP FUNCTION {', '.join(_OLDER_FUNCTIONS)}")
    for name, attributes in _TYPES.items():
        op.execute(f"CREATE TYPE {name} AS ({attributes})")
    for name in _FUNCTIONS:
        _create_function("0004", name)


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {', '.join(reversed(_FUNCTIONS))}")
    for name in reversed(_TYPES):
        op.execute(f"DROP TYPE {name}")
    for name, version in _OLDER_FUNCTIONS.items():
        _create_function(version, name)
    op.execute("ALTER TABLE usage_daily RESET (fillfactor)")
    op.drop_column("usage_daily", "unanswered_calls")
    # An image that lives elsewhere cannot be read by older code: its jobs are told that it is gone.
    op.execute("DELETE FROM images WHERE data IS NULL")
    op.drop_index("images_expire_time_idx", "images")
    op.drop_column("images", "object_key")
    op.alter_column("images", "data", nullable=False)
    for name in _TABLES:
        op.drop_table(name)
    for column in _ATTEMPT_COLUMNS:
        op.drop_column("attempts", column)
    for column in _QUEUE_COLUMNS:
        op.drop_column("queue", column)


def _create_step_outputs() -> None:
    op.create_table(
        "step_outputs",
        sa.Column("job_id", sa.Uuid),
        sa.Column("output_json", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer),
        sa.PrimaryKeyConstraint("job_id", name="step_outputs_pkey"),
        postgresql_partition_by="RANGE (job_id)",
    )
    # For the days there are; those to come are made with the other tables'.
    op.execute("""
        DO $$
        DECLARE
            v_day record;
        BEGIN
            FOR v_day IN
                SELECT replace(c.relname, 'jobs_', 'step_outputs_') AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
                FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'jobs'::regclass
            LOOP
                EXECUTE format('CREATE TABLE %I PARTITION OF step_outputs %s', v_day.name, v_day.bounds);
            END LOOP;
        END $$
    """)


def _let_images_live_elsewhere() -> None:
    op.alter_column("images", "data", nullable=True)
    op.add_column("images", sa.Column("object_key", sa.Text))
    op.create_index("images_expire_time_idx", "images", ["expire_time"])
    op.create_table(
        "image_objects",
        sa.Column("object_key", sa.Text),
        _time("remove_time"),
        sa.PrimaryKeyConstraint("object_key", name="image_objects_pkey"),
    )


def _create_function(version: str, name: str) -> None:
    text = (Path(__file__).parent.parent / "sql" / f"{version}_{name}.sql").read_text()
    op.execute(sa.text(text.replace(":", r"\:")))
