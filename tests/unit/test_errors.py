"""The errors' names, exit codes and statuses are a contract with scripts and REST clients."""

from __future__ import annotations

import pytest

from omegaml import errors


def everything(base: type[errors.OmegaError]) -> list[type[errors.OmegaError]]:
    return [base, *(e for sub in base.__subclasses__() for e in everything(sub))]


@pytest.mark.parametrize("error", everything(errors.OmegaError), ids=lambda e: e.__name__)
def test_every_error_stands_in_the_module_docstring_with_its_codes(error: type[errors.OmegaError]) -> None:
    lines = [line for line in (errors.__doc__ or "").splitlines() if error.__name__ in line.split()[-20:]]
    if error is errors.OmegaError:
        return
    line = next(line for line in lines if f"── {error.__name__} " in line)
    rest = line.split(error.__name__, 1)[1].split()
    assert (int(rest[0]), int(rest[1])) == (error.exit_code, error.http_status)


def test_an_error_shows_its_hint_and_a_stable_code() -> None:
    error = errors.PortInUse("port 27017 is taken", hint="use --set ports.mongodb=27018", port=27017)
    assert str(error) == "port 27017 is taken (use --set ports.mongodb=27018)"
    assert error.code == "PORT_IN_USE"
    assert error.details == {"port": 27017}
