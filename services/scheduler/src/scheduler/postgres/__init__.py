"""The store on Postgres 15 and newer: the hot queue apart from what is written once."""
