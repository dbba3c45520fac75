"""cdr-archive: every recorded call of a company in PostgreSQL, with proof that none is missing."""
