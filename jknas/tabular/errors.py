"""The one error that every problem with a table of trained accuracies ends in."""


class TabularError(ValueError):
    """A table that cannot be read, or a question that it cannot answer.

    The message says what came, what was expected and what to do.
    """
