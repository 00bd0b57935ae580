"""The errors of the training room."""


class TrainingError(ValueError):
    """A recipe, a network, a data set or a call that does not fit the others.

    The message says what came, what was expected and what to do.
    """


class CheckpointError(TrainingError):
    """A folder that cannot be resumed from, or must not be written to."""
