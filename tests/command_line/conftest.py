"""How the tests run the command line in their own process."""

import pytest
from compiling import without_remarks

from jknas import cli


@pytest.fixture
def run(capfd):
    """Return what runs a command, and returns its exit code and what it wrote."""

    def call(*arguments):
        capfd.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return code, out, without_remarks(err)

    return call
