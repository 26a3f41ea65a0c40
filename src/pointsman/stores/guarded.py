"""What must not be forgotten when a database is lost: that there were keys or users, so that the port was closed.

A damaged or deleted file is begun anew, without a key and without a user. Taken as it is, that would open the port. So
a small file beside the database remembers, until the owner says that the loss is meant.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pointsman.core.errors import StoreError

log = logging.getLogger(__name__)

NAME = "guarded"
TEXT = """There were API keys or users here. As long as this file is here, nobody gets in without a key, even when the
database is lost. `pointsman db begin-anew` removes it.
"""


class GuardMark:
    """The file that remembers: it is there or not."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: where the database lies.
        """
        self._path = folder / NAME

    @property
    def closed(self) -> bool:
        """Whether there was a key or a user. Where that cannot be read, there was."""
        try:
            os.lstat(self._path)
        except FileNotFoundError:
            return False
        except OSError as error:
            log.error("Whether there were API keys cannot be read, so one is asked for: %s", error)
        return True

    def close(self) -> None:
        """Remember. Does not raise: a disk that cannot be written ends no request."""
        if self.closed:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(TEXT)
        except OSError as error:
            log.warning("%s cannot be written: if the database is lost too, the port will be open: %s", NAME, error)

    def forget(self) -> bool:
        """Take the database as it is; False when nothing was remembered.

        Raises:
            StoreError: the file cannot be removed.
        """
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(f"{self._path} cannot be removed: {error.strerror or error}.") from error
        return True
