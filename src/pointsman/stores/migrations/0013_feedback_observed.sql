-- Feedback from before there were observations, as `core.reward.success_of` reads it.
INSERT INTO observations (decision_id, key_id, model, at, success, weight, source, kind, revision)
SELECT d.id, d.key_id, COALESCE(NULLIF(d.answered_by, ''), d.model), d.created_at,
    CASE
        WHEN f.outcome = 'success' THEN 1.0
        WHEN f.outcome = 'partial' THEN 0.5
        WHEN f.outcome IS NOT NULL THEN 0.0
        WHEN f.score IS NOT NULL THEN f.score
        WHEN f.thumb = 'up' THEN 1.0
        ELSE 0.0
    END,
    1.0, 'feedback', '', 0
FROM feedback f JOIN decisions d ON d.id = f.decision_id
WHERE d.model <> '' AND f.tests_passed IS NULL AND f.edit_accepted IS NULL
    AND (f.outcome IS NOT NULL OR f.score IS NOT NULL OR f.thumb IS NOT NULL)
ON CONFLICT (decision_id) DO NOTHING;
