"""The database itself refuses to alter or remove a line of the audit trail.

A line's result is written once, when what it tells of has ended; everything else is final from the start.
"""

from sqlalchemy import Connection, text

_FINAL = ("seq", "at", "who", "action", "app_id", "app", "address", "detail")
_TEXT = "lines of the audit trail are final"

_CHANGED = " OR ".join(
    [f"NEW.{column} IS NOT OLD.{column}" for column in _FINAL] + ["OLD.result IS NOT NULL"]
)
SQLITE = (
    (
        f"CREATE TRIGGER events_no_update BEFORE UPDATE ON events WHEN {_CHANGED} "
        f"BEGIN SELECT RAISE(ABORT, '{_TEXT}'); END"
    ),
    f"CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, '{_TEXT}'); END",
)

_DISTINCT = _CHANGED.replace("IS NOT OLD", "IS DISTINCT FROM OLD")
POSTGRESQL = (
    (
        "CREATE FUNCTION events_are_final() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION '{_TEXT}'; END$$"
    ),
    (
        f"CREATE TRIGGER events_no_update BEFORE UPDATE ON events FOR EACH ROW WHEN ({_DISTINCT}) "
        "EXECUTE FUNCTION events_are_final()"
    ),
    (
        "CREATE TRIGGER events_no_delete BEFORE DELETE ON events FOR EACH ROW "
        "EXECUTE FUNCTION events_are_final()"
    ),
)


def create_guards(connection: Connection) -> None:
    """Create the triggers, in the dialect of the connection."""
    for statement in POSTGRESQL if connection.dialect.name == "postgresql" else SQLITE:
        connection.execute(text(statement))
