"""The one exception that stands for a mistake a user can make."""


class InputError(ValueError):
    """A value that cannot be used, told in one line: the value, what is allowed, what to do.

    The tools print it behind ``error:`` and exit with status 2; anything else is a bug and
    keeps its traceback.
    """
