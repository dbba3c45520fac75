-- Which codes has nobody documented yet?
--
-- Role:    cdr_analyst
-- Zone:    times by the clock of :zone
-- Example: from=2025-03-01 to=2025-04-01 zone=UTC
--
-- Add what you learn of them to cdr.cause, cdr.direction, cdr.signaling, cdr.audio_codec or cdr.modality.
\ir defaults.psql

SELECT field, shown, count(*) AS calls, min(start_time) AS first
FROM report.calls
CROSS JOIN LATERAL (VALUES
    ('cause', cause), ('direction', direction), ('signaling', signaling), ('audio_codec', audio_codec),
    ('modality', modality)
) codes (field, shown)
WHERE start_time >= :'from' AND start_time < :'to' AND shown LIKE 'unknown code %'
GROUP BY field, shown
ORDER BY field, shown;
