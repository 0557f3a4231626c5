"""The command line: ``ainode``, the same as ``python -m node``."""

from __future__ import annotations

import sys

import typer

from node.commands import deliveries, service, studies, trail
from node.errors import NodeError, StorageError


def _group(about: str) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, add_completion=False, help=about)


app = _group("A DICOM AI node beside the PACS.")
app.command()(service.run)
app.command()(service.demo)
app.command()(service.check)
app.command()(studies.send)
app.command("worklist")(studies.worklist_command)
app.command()(studies.complete)
app.command()(studies.replay)
app.command()(studies.report)
app.command()(service.conformance)
app.command()(service.migrate)

delivery = _group("Reports on their way to the destinations.")
delivery.command("list")(deliveries.delivery_list)
delivery.command("retry")(deliveries.delivery_retry)
delivery.command("discard")(deliveries.delivery_discard)
app.add_typer(delivery, name="delivery")

commitment = _group("Storage commitment that senders asked for.")
commitment.command("list")(deliveries.commitment_list)
commitment.command("retry")(deliveries.commitment_retry)
app.add_typer(commitment, name="commitment")

audit = _group("The audit trail.")
audit.command("verify")(trail.audit_verify)
audit.command("export")(trail.audit_export)
app.add_typer(audit, name="audit")

models = _group("Checkpoints and prompt sets.")
models.command("list")(service.models_list)
models.command("verify")(service.models_verify)
app.add_typer(models, name="models")


def main() -> None:
    """Entry point: errors of ours are one sentence and exit code 2."""
    try:
        app()
    except NodeError as error:
        told = str(error)
        if isinstance(error, StorageError):  # the database driver goes on for some lines
            told = told.partition("\n")[0]
        from rich.console import Console

        Console(stderr=True).print(f"{type(error).__name__}: {told}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
