-- report.pending: the times of a recorder of which nobody knows yet whether a session listened.
--
-- Purpose: to tell what is settled (covered, or a gap) from what is not. A session that lives is behind by seconds, or
--          by as long as the database was away. One that was left behind, its worker's machine gone with the journal,
--          stays behind until somebody ends it; then this time becomes a gap.
-- Grain:   one row per recorder and stretch of time. Stretches of one recorder never overlap, nor do they overlap gaps.
-- Zone:    all times are UTC instants.
-- Holds no personal data.

CREATE OR REPLACE VIEW report.pending AS
SELECT p.recorder, lower(p.span) AS from_time, upper(p.span) AS to_time
FROM (
    -- From its first subscription on, until it was retired, a recorder's time is covered, a gap, or this.
    SELECT s.recorder, unnest(
        tstzmultirange(tstzrange(min(s.subscribed_at), min(r.retired_at)))
        - range_agg(s.coverage)
        - coalesce((SELECT range_agg(tstzrange(g.from_time, g.to_time)) FROM cdr.gap g WHERE g.recorder = s.recorder), '{}')
    ) AS span
    FROM cdr.session s LEFT JOIN cdr.recorder r ON r.name = s.recorder
    WHERE s.subscribed_at IS NOT NULL AND (r.retired_at IS NULL OR s.subscribed_at < r.retired_at)
    GROUP BY s.recorder
) p;
COMMENT ON VIEW report.pending IS
    'Times of a recorder that are neither covered nor in a gap yet: its session has told nothing of them, and has not ended. Grain: one row per recorder and stretch of time. Times are UTC instants';
COMMENT ON COLUMN report.pending.recorder IS 'The recorder';
COMMENT ON COLUMN report.pending.from_time IS 'First moment that is pending (UTC instant)';
COMMENT ON COLUMN report.pending.to_time IS
    'First moment that is settled again, or no more the recorder''s time (UTC instant); null while it lasts, as it does behind every session that lives';
