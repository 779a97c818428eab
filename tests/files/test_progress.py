"""Long work says so; short work says nothing."""

import logging

import pytest

from neural_branching.files import progress as module


def test_work_that_takes_long_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.INFO):
        with module.progress("Looking") as show:
            show(0.5)
        assert not caplog.text
        monkeypatch.setattr(module, "PATIENCE", -1)
        with module.progress("Looking") as show:
            show(0.5)
            show(0.6)
    assert caplog.text.count("Looking.") == 1
