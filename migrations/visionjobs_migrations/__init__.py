"""The Alembic revisions of the database: `pre` ones are safe before a deploy, `post` ones come after it."""
