"""The one error that every problem with data ends in."""


class DataError(ValueError):
    """Data are missing, damaged, or not of the form that was asked for.

    The message says what came, what was expected and what to do.
    """
