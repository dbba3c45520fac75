"""PostgreSQL: the schema, the one write path, and the questions that other parts ask of it."""
