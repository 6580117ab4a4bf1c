"""The bytes of images outside of the database: in a bucket, or in a directory."""
