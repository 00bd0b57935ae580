"""The error of the search room."""


class SearchError(ValueError):
    """A search that cannot be run as asked, or a checkpoint that it cannot go on from.

    The message says what came, what was expected and what to do.
    """
