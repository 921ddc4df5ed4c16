"""What operating apps needs: owners, locks, stopped types, limits, an audit trail that cannot be altered."""

import sqlalchemy as sa
from alembic import op

from cygni.store.guards import create_guards

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("keys", sa.Column("last_used_at", TIME))
    op.add_column("apps", sa.Column("locked_by", sa.String))
    op.add_column("apps", sa.Column("probe_timeout", sa.Float))
    op.add_column("formation", sa.Column("stopped_at", TIME))
    op.add_column("releases", sa.Column("output_id", sa.String))
    op.create_table(
        "limits",
        sa.Column("app_id", sa.String, primary_key=True),
        sa.Column("process", sa.String, primary_key=True),
        sa.Column("memory", sa.BigInteger),
        sa.Column("cpus", sa.Float),
        sa.ForeignKeyConstraint(["app_id"], ["apps.id"], ondelete="CASCADE"),
    )
    for column in ("app", "address", "result"):
        op.add_column("events", sa.Column(column, sa.String))
    # Until now `admin` was the highest role, and who made an app had it.
    op.execute("UPDATE access SET role = 'owner' WHERE role = 'admin'")
    op.execute("UPDATE events SET result = 'done'")
    create_guards(op.get_bind())
