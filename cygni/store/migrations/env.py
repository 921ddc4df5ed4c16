"""Run by Alembic, on the connection and in the transaction of the caller (`cygni.store.migrate`)."""

from alembic import context

from cygni.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
