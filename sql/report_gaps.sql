-- report.gaps: the times in which nobody listened to a recorder.
--
-- Purpose: to see when calls may be missing, why, and whether the history has shown since what there was.
-- Grain:   one row per gap. Gaps of one recorder never overlap.
-- Zone:    all times are UTC instants.
-- Holds no personal data: why and by whom a gap was accepted stands in cdr.gap_acceptance only.

CREATE OR REPLACE VIEW report.gaps AS
SELECT
    g.id,
    g.recorder,
    g.from_time,
    g.to_time,
    g.reason,
    g.state,
    g.calls_recovered
FROM cdr.gap g;
COMMENT ON VIEW report.gaps IS
    'Times of a recorder that no session covers. Grain: one row per gap. Times are UTC instants';
COMMENT ON COLUMN report.gaps.id IS 'Id of the gap; it stays while the gap begins at the same moment';
COMMENT ON COLUMN report.gaps.recorder IS 'Recorder that was not heard';
COMMENT ON COLUMN report.gaps.from_time IS 'First moment not covered (UTC instant)';
COMMENT ON COLUMN report.gaps.to_time IS 'First moment covered again (UTC instant); null while the gap lasts';
COMMENT ON COLUMN report.gaps.reason IS 'What began it: drop, reset, silence, stall, refused, pause, clock, backlog, stop, crash or journal';
COMMENT ON COLUMN report.gaps.state IS
    'open: calls may be missing; filled: the history was read and shows that none is; accepted: someone took note that they are gone for good';
COMMENT ON COLUMN report.gaps.calls_recovered IS 'Calls that started in the gap and that only the history has shown';
