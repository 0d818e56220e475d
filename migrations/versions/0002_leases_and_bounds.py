"""Leases of events, reopening in slices, handlers that outlive their job, bounded dead letters and pruning.

Kind: expand.

Every new column may be empty or has a constant default, so that no row is rewritten and the release before runs on it.
An event is due from `coalesce(event_publish_at, completed_at)` on: what the release before completes has no date.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE orchestration
    ADD COLUMN event_publish_at timestamptz,
    ADD COLUMN event_refusals integer NOT NULL DEFAULT 0,
    ADD COLUMN event_refused text,
    ADD COLUMN reopening_at timestamptz,
    ADD COLUMN reopening_finishes integer,
    ADD COLUMN closed_below integer NOT NULL DEFAULT 0,
    ADD COLUMN pruning_at timestamptz,
    DROP CONSTRAINT orchestration_complete,
    ADD CONSTRAINT orchestration_complete
        CHECK ((completed_at IS NOT NULL) = (completed + errored = total AND reopening_at IS NULL)) NOT VALID;
ALTER TABLE job
    ADD COLUMN occupied_by uuid,
    ADD COLUMN dead_letters integer NOT NULL DEFAULT 0,
    ADD COLUMN last_dead_letter_at timestamptz;
ALTER TABLE worker ADD COLUMN pool text NOT NULL DEFAULT '';
ALTER TABLE rejected_message ADD COLUMN orchestration_id uuid;
"""

# Built without blocking writers. A build that was interrupted leaves an invalid index behind, which is dropped first.
INDEXES = {
    "job_occupied": "job (occupied_by) WHERE occupied_by IS NOT NULL",
    "orchestration_created": "orchestration (created_at, id)",
    "orchestration_event_waits": "orchestration (coalesce(event_publish_at, completed_at))"
    " WHERE completed_at IS NOT NULL AND event_published_at IS NULL AND event_refused IS NULL",
    "orchestration_event_refused": "orchestration (completed_at) WHERE event_refused IS NOT NULL",
    "orchestration_cancelled": "orchestration (cancelled_at) WHERE cancelled_at IS NOT NULL AND completed_at IS NULL",
    "orchestration_reopening": "orchestration (reopening_at) WHERE reopening_at IS NOT NULL",
    "orchestration_pruning": "orchestration (pruning_at) WHERE pruning_at IS NOT NULL",
    "rejected_message_reason": "rejected_message (reason, id)",
    "rejected_message_orchestration": "rejected_message (orchestration_id) WHERE orchestration_id IS NOT NULL",
}


def upgrade() -> None:
    op.execute(COLUMNS)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE orchestration VALIDATE CONSTRAINT orchestration_complete")
        for name, definition in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
    op.execute("COMMENT ON TABLE headcount_schema IS 'suits releases from 0001 on'")


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    op.execute(
        "ALTER TABLE orchestration DROP COLUMN event_publish_at, DROP COLUMN event_refusals,"
        " DROP COLUMN event_refused, DROP CONSTRAINT orchestration_complete, DROP COLUMN reopening_at,"
        " DROP COLUMN reopening_finishes, DROP COLUMN closed_below, DROP COLUMN pruning_at,"
        " ADD CONSTRAINT orchestration_complete CHECK ((completed_at IS NOT NULL) = (completed + errored = total))"
    )
    op.execute("ALTER TABLE job DROP COLUMN occupied_by, DROP COLUMN dead_letters, DROP COLUMN last_dead_letter_at")
    op.execute("ALTER TABLE worker DROP COLUMN pool")
    op.execute("ALTER TABLE rejected_message DROP COLUMN orchestration_id")
