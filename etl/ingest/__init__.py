"""From the journal to the database: documents are read again, become facts, and are written in batches."""
