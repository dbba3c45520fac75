-- How many calls went on at once at most, and when first?
--
-- Role:    cdr_analyst
-- Zone:    minutes by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=Europe/Berlin
--
-- A recorder's licence is counted by this number.
\ir defaults.psql

SELECT DISTINCT ON (recorder) recorder, peak, minute
FROM report.concurrent_calls(:'from', :'to')
ORDER BY recorder, peak DESC, minute;
