"""A folder of Parquet files that hold calls: how it is laid out, and how it stays whole while it is written."""
