-- The relation `calls` of the questions in Apache Spark: an export's files, of which only those are read that a condition
-- on month or recorder leaves. Say before where the export is: SET lake = lake; or s3a://bucket/lake, or hdfs:///lake.
-- Without the second statement a recorder called 0815 would become the number 815.

SET TIME ZONE 'UTC';
SET spark.sql.sources.partitionColumnTypeInference.enabled = false;
CREATE OR REPLACE TEMPORARY VIEW calls USING parquet OPTIONS (path '${lake}/calls');
