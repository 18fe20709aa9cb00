"""What the summary of a test run says about programs that are missing."""

from __future__ import annotations

import pytest

from tests.support.not_installed import skip_without, summary


def test_one_line_says_what_to_install_and_how_many_tests_were_skipped() -> None:
    reasons = ["Skipped: not installed: go", "Skipped: not installed: faketime", "Skipped: not installed: go"]
    assert summary(reasons) == (
        "Not installed: faketime, go (scripts/install_test_packages.sh installs faketime). Tests skipped for it: 3."
    )


def test_nothing_is_said_where_nothing_is_missing() -> None:
    assert summary(["Skipped: needs to mount a file system"]) == ""


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_is_missing_fails_in_ci_alone(monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[Exception]) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="not installed: mosquitto"):
        skip_without("mosquitto")
