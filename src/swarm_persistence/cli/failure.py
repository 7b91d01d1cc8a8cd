"""The error that ends a command."""


class CommandError(Exception):
    """End the command with one line on standard error and this exit code."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code
