"""Refuses a database of another revision. Apart from the migrations, so that serving does not load their tools."""

import asyncpg

from scheduler.errors import WrongRevision

NEEDED = "0004"
"""The newest migration; a test holds it to the migrations."""


async def check(connection: asyncpg.Connection) -> None:
    """Make sure that the database has the revision this code was written for.

    Raises:
        WrongRevision: It has not; the message says what to do.
    """
    exists = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
    found = await connection.fetchval("SELECT version_num FROM alembic_version") if exists else None
    if found == NEEDED:
        return
    if found is not None and found > NEEDED:
        raise WrongRevision(
            f"The database has revision {found}, newer than {NEEDED}: run a newer visionjobs-scheduler."
        )
    raise WrongRevision(
        f"The database has revision {found or 'none'}, but {NEEDED} is needed: run `visionjobs-scheduler migrate`."
    )
