"""Errors that are shown to users."""


class TippersError(Exception):
    """An error that the user can fix.

    The command line prints ``message``, then ``hint`` (what to do), and exits with status 1,
    without a traceback.

    Parameters
    ----------
    message
        What is wrong; names the file, row, column, space or setting.
    hint
        What to do about it. Optional.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n{hint}")
        self.message = message
        self.hint = hint


class BadInput(TippersError):
    """A file, an argument or a row that cannot be used."""


class SettingsError(TippersError):
    """A setting is missing, contradictory or out of range."""


class LakeError(TippersError):
    """A lake file could not be read or written."""


class EnvironmentFault(TippersError):
    """The environment failed, not the computation.

    The run does not count as an attempt, and is retried later.
    """


class DiskFull(EnvironmentFault):
    """No space left on a disk."""


class LakeFull(LakeError, DiskFull):
    """No space left for lake files."""


class LowMemory(EnvironmentFault):
    """A run waited for free memory for as long as it may, and did not start."""


class LakeFileMissing(LakeError):
    """A lake file does not exist."""


class LakeFileDamaged(LakeError):
    """What is in a lake file is not what was written."""


class SourceError(TippersError):
    """The source database lacks a table or column, or its space tree is broken."""


class MissingPartitions(TippersError):
    """The requested occupancy is not computed yet; ``missing`` names the chunks."""

    def __init__(self, message: str, missing: list[str], hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.missing = missing
