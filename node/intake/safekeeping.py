"""From a published file to a row: made durable, then recorded, together with those that end at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node.errors import StorageError
from node.intake.files import InstanceFiles
from node.intake.group import Group
from node.intake.incoming import IncomingFile
from node.intake.ledger import Ledger, Outcome
from node.intake.part10 import StoreRequest


@dataclass(frozen=True, kw_only=True)
class Deposit:
    """A published file, and what its row will say."""

    file: IncomingFile
    request: StoreRequest
    outcome: Outcome


class Safekeeping:
    """Keeps deposits of many threads in two groups, one after the other: synced, then recorded.

    While one group is recorded the next is synced. ``wake`` is called after each commit and must not raise.
    """

    def __init__(self, files: InstanceFiles, ledger: Ledger, wake: Callable[[], None]) -> None:
        self._files = files
        self._ledger = ledger
        self._wake = wake
        self._syncing: Group[Deposit] = Group(self._sync)
        self._recording: Group[Deposit] = Group(self._record)

    def keep(self, deposit: Deposit) -> None:
        """Make the instance durable, then known.

        Raises:
            StorageError: disk or database refused; its file is gone, unless nobody can tell whether it was recorded.
        """
        try:
            deposit.file.sync_if_large()
            self._syncing.join(deposit)
        except StorageError:
            deposit.file.discard()
            raise
        self._recording.join(deposit)

    def _sync(self, deposits: Sequence[Deposit]) -> Sequence[Exception | None]:
        self._files.secure([deposit.file for deposit in deposits])
        return [None] * len(deposits)

    def _record(self, deposits: Sequence[Deposit]) -> Sequence[Exception | None]:
        errors = self._recorded(deposits)
        self._wake()
        return errors

    def _recorded(self, deposits: Sequence[Deposit]) -> Sequence[Exception | None]:
        try:
            self._ledger.record([(deposit.request, deposit.outcome) for deposit in deposits])
        except StorageError as error:
            return self._reconciled(deposits, error)
        for deposit in deposits:
            deposit.file.settle()
        return [None] * len(deposits)

    def _reconciled(self, deposits: Sequence[Deposit], error: StorageError) -> Sequence[Exception | None]:
        """After a failed commit: what was recorded all the same is kept, one that the database
        does not take fails alone, and where nobody can tell now the next sweep will ask again."""
        try:
            known = self._ledger.recorded([deposit.outcome.path for deposit in deposits])
        except StorageError:
            for deposit in deposits:
                deposit.file.close()
            return [error] * len(deposits)
        alone = len(deposits) == 1 or _is_away(error)
        return [self._resolved(deposit, error, recorded=deposit.outcome.path in known, alone=alone)
                for deposit in deposits]

    def _resolved(self, deposit: Deposit, error: StorageError, *, recorded: bool, alone: bool) -> Exception | None:
        if recorded:
            deposit.file.settle()
            return None
        if alone:
            deposit.file.discard()
            return error
        return self._recorded([deposit])[0]


def _is_away(error: StorageError) -> bool:
    """The database does not answer or is locked: no instance is to blame."""
    return isinstance(error.__cause__, (sa.exc.OperationalError, sa.exc.InterfaceError))
