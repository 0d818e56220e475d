"""Progress links by their rows, and the audit of what was asked for over the API.

Used by the API, and by `headcount link`. A link is made, and revoked, in the transaction that says who did it.
"""

from sqlalchemy import text

CREATE = text("""
INSERT INTO progress_link (id, orchestration_id, show, created_by, expires_at)
VALUES (:id, :orchestration_id, CAST(:shown AS text[]), :caller,
        statement_timestamp() + make_interval(secs => :lasts))
RETURNING id, orchestration_id, show, created_by, created_at, expires_at, revoked_at
""")

REVOKE = text("""
UPDATE progress_link SET revoked_at = coalesce(revoked_at, statement_timestamp())
WHERE id = :id RETURNING orchestration_id
""")

OF_ORCHESTRATION = text("""
SELECT id, orchestration_id, show, created_by, created_at, expires_at, revoked_at
FROM progress_link WHERE orchestration_id = :id ORDER BY created_at DESC LIMIT :limit
""")

VALID = text("""
SELECT id, orchestration_id, show, created_by, created_at, expires_at, revoked_at
FROM progress_link
WHERE id = ANY(CAST(:ids AS uuid[])) AND revoked_at IS NULL AND expires_at > statement_timestamp()
""")

AUDIT = text("""
INSERT INTO audit (caller, action, orchestration_id, count, detail)
VALUES (:caller, :action, :orchestration_id, :changed, :detail) RETURNING id
""")

AUDIT_DONE = text("UPDATE audit SET count = :changed WHERE id = :id")

AUDITED = text("""
SELECT id, asked_at, caller, action, orchestration_id, count, detail
FROM audit
WHERE id < :after AND (CAST(:action AS text) IS NULL OR action = CAST(:action AS text))
  AND (CAST(:of_id AS uuid) IS NULL OR orchestration_id = CAST(:of_id AS uuid))
ORDER BY id DESC LIMIT :limit
""")
