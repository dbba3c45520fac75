-- The relation `calls` of the questions in DuckDB: an export's files, of which only those are read that a condition on
-- month or recorder leaves. Say before where the export is: SET VARIABLE lake = 'lake';
-- Without hive_types_autocast = false a recorder called 815 would become a number.

SET TimeZone = 'UTC';
CREATE OR REPLACE TEMPORARY VIEW calls AS
SELECT * FROM read_parquet(
    getvariable('lake') || '/calls/month=*/recorder=*/calls.parquet',
    hive_partitioning = true,
    hive_types_autocast = false
);
