"""The one family of errors that a user is meant to read."""


class TippersError(Exception):
    """Something a person can mend.

    The command line prints ``message``, then ``hint`` (what to do), and exits with status 1;
    it never prints a traceback for these.

    Parameters
    ----------
    message
        What is wrong, naming the file, row, column, space or setting.
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
    """A setting that is missing, contradictory or out of range."""


class LakeError(TippersError):
    """A file of the lake that could not be read or written."""


class EnvironmentFault(TippersError):
    """The environment failed, not the computation: other input would not have helped.

    It does not count as an attempt, and is retried later.
    """


class DiskFull(EnvironmentFault):
    """No space left on a disk that was written to."""


class LakeFull(LakeError, DiskFull):
    """No space left for files of the lake."""


class LowMemory(EnvironmentFault):
    """Too little free memory to start, for longer than a run waits."""


class LakeFileMissing(LakeError):
    """A file of the lake that is not there."""


class SourceError(TippersError):
    """The source database lacks a table or column, or its space tree is broken."""


class MissingPartitions(TippersError):
    """Occupancy was asked for that has not been computed; ``missing`` names the chunks."""

    def __init__(self, message: str, missing: list[str], hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.missing = missing
