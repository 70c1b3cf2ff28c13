"""The pytest plugin, in fresh processes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
# Plugins of this environment that the tests below do not need, and that take time to load.
OTHERS = ("-p", "no:hypothesispytest", "-p", "no:pytest_cov", "-p", "no:timeout")


def python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_page_pass_in_two_processes(pytester: pytest.Pytester) -> None:
    examples = [block for block in python_blocks() if "wherry_registry" in block]
    assert len(examples[0].splitlines()) <= 10
    files = {f"test_example{number}": block for number, block in enumerate(examples)}
    pytester.makepyfile(
        **files,
        test_port="""
            import pytest

            @pytest.mark.parametrize("number", range(4))
            def test_each_test_has_its_own(wherry_registry, number):
                wherry_registry.add(f"acme/app:{number}", files={})
                assert wherry_registry.tags["acme/app"].keys() == {str(number)}
        """,
    )
    done = pytester.runpytest_subprocess("-n", "2", "--strict-markers", "-W", "error", *OTHERS)
    done.assert_outcomes(passed=4 + sum(block.count("def test_") for block in examples))


def test_what_a_test_uses_is_imported_and_closed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import socket
        import sys
        import threading

        import pytest

        seen = []

        def test_nothing_is_imported_before():
            loaded = {name for name in sys.modules if name.split(".")[0] == "wherry"}
            assert loaded == {"wherry", "wherry.testing", "wherry.testing.pytest_plugin"}
            assert "http.server" not in sys.modules

        def test_it_answers(wherry_registry):
            seen.append(wherry_registry.port)
            socket.create_connection(("127.0.0.1", wherry_registry.port)).close()

        def test_it_is_closed():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", seen[0]))
            assert threading.active_count() == 1

        @pytest.mark.wherry_registry(users={"me": "secret"})
        class TestOptions:
            def test_of_the_class(self, wherry_registry):
                assert wherry_registry.grants.users == {"me": "secret"}

            @pytest.mark.wherry_registry(likes="ecr")
            def test_unknown(self, wherry_registry):
                pass
        """
    )
    done = pytester.runpytest_subprocess("--strict-markers", "-W", "error", *OTHERS)
    done.assert_outcomes(passed=4, errors=1)
    done.stdout.fnmatch_lines(["*TypeError*unexpected keyword argument 'likes'*"])


def test_it_can_be_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(wherry_registry): pass")
    done = pytester.runpytest_subprocess("-p", "no:wherry", *OTHERS)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*fixture 'wherry_registry' not found*"])
