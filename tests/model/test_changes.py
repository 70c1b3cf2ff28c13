"""Instructions of `--change`: what docker's daemon makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.errors import InvalidReference
from wherry.model.changes import apply_changes

CASES: list[tuple[list[str], dict[str, Any]]] = [
    (['CMD ["a", "b c"]'], {"Cmd": ["a", "b c"]}),
    (["cmd  echo  $HOME 'x' "], {"Cmd": ["/bin/sh", "-c", "echo  $HOME 'x'"]}),
    (["CMD ['a']"], {"Cmd": ["/bin/sh", "-c", "['a']"]}),
    (["CMD []"], {"Cmd": []}),
    (["CMD\tls"], {"Cmd": ["/bin/sh", "-c", "ls"]}),
    (["ENTRYPOINT /bin/x --y"], {"Entrypoint": ["/bin/sh", "-c", "/bin/x --y"]}),
    (['ENTRYPOINT ["/bin/x"]', "CMD a"], {"Entrypoint": ["/bin/x"], "Cmd": ["/bin/sh", "-c", "a"]}),
    (["ENTRYPOINT []"], {}),
    (["ENV A=b"], {"Env": ["A=b"]}),
    (["ENV A=b C='d e' F=\"g h\" I=j\\ k"], {"Env": ["A=b", "C=d e", "F=g h", "I=j k"]}),
    (["ENV A b c=d"], {"Env": ["A=b c=d"]}),
    (['ENV A "b c"'], {"Env": ["A=b c"]}),
    (["ENV A="], {"Env": ["A="]}),
    (["ENV A=1", "ENV B=2", "ENV A=3"], {"Env": ["A=3", "B=2"]}),
    (["ENV A=1", "ENV B=$A-${A}-${C:-d}-${A:+e}-\\$A-'$A'"], {"Env": ["A=1", "B=1-1-d-e-$A-$A"]}),
    (['ENV A=1 B="x\\"$A\\\\y"'], {"Env": ["A=1", 'B=x"\\y']}),  # set before, not beside
    (["ENV a=b=c"], {"Env": ["a=b=c"]}),
    (["EXPOSE 80"], {"ExposedPorts": {"80/tcp": {}}}),
    (["EXPOSE 80/UDP 443 80/udp"], {"ExposedPorts": {"80/udp": {}, "443/tcp": {}}}),
    (
        ["EXPOSE 8000-8002/sctp"],
        {"ExposedPorts": {"8000/sctp": {}, "8001/sctp": {}, "8002/sctp": {}}},
    ),
    (["ENV P=81", "EXPOSE $P"], {"Env": ["P=81"], "ExposedPorts": {"81/tcp": {}}}),
    (["LABEL a=b 'c d'=\"e f\""], {"Labels": {"a": "b", "c d": "e f"}}),
    (["LABEL a b c"], {"Labels": {"a": "b c"}}),
    (["LABEL a=1", "LABEL a=2"], {"Labels": {"a": "2"}}),
    (["ONBUILD RUN make $X"], {"OnBuild": ["RUN make $X"]}),
    (["STOPSIGNAL SIGINT"], {"StopSignal": "SIGINT"}),
    (["STOPSIGNAL 9"], {"StopSignal": "9"}),
    (["STOPSIGNAL term"], {"StopSignal": "term"}),
    (["STOPSIGNAL RTMIN+3"], {"StopSignal": "RTMIN+3"}),
    (["USER 1000:100"], {"User": "1000:100"}),
    (["ENV U=me", "USER $U"], {"Env": ["U=me"], "User": "me"}),
    (["VOLUME /a /b"], {"Volumes": {"/a": {}, "/b": {}}}),
    (['VOLUME ["/a b", "/c"]'], {"Volumes": {"/a b": {}, "/c": {}}}),
    (["WORKDIR /a", "WORKDIR b/../c"], {"WorkingDir": "/a/c"}),
    (["WORKDIR a b"], {"WorkingDir": "/a b"}),
    (["HEALTHCHECK NONE"], {"Healthcheck": {"Test": ["NONE"]}}),
    (["HEALTHCHECK CMD curl x"], {"Healthcheck": {"Test": ["CMD-SHELL", "curl x"]}}),
    (
        ['HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD ["a", "b"]'],
        {
            "Healthcheck": {
                "Test": ["CMD", "a", "b"],
                "Interval": 90 * 10**9,
                "Timeout": 5 * 10**8,
                "Retries": 3,
            }
        },
    ),
    (
        ["HEALTHCHECK --start-period=1h --start-interval=2s CMD x"],
        {
            "Healthcheck": {
                "Test": ["CMD-SHELL", "x"],
                "StartPeriod": 3600 * 10**9,
                "StartInterval": 2 * 10**9,
            }
        },
    ),
    (["ENV A=b\nUSER me"], {"Env": ["A=b"], "User": "me"}),
    (["# a comment\nENV A=b \\\n  C=d\n\n"], {"Env": ["A=b", "C=d"]}),
]


@pytest.mark.parametrize(("changes", "expected"), CASES, ids=lambda value: str(value)[:60])
def test_instructions(changes: list[str], expected: dict[str, Any]) -> None:
    found = apply_changes({}, changes)
    assert found == expected
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("", "there is no instruction"),
        (" \n# x", "there is no instruction"),
        ("RUN ls", "RUN is not an instruction that changes a config"),
        ("FROM x", "FROM is not"),
        ("COPY a b", "COPY is not"),
        ("SHELL []", "SHELL is not"),
        ("CMD", "CMD needs a value"),
        ("ENV ", "ENV needs a value"),
        ("CMD [1]", "nothing but strings"),
        ('ENTRYPOINT ["a", null]', "nothing but strings"),
        ("ENV A", "'A' has no value"),
        ("ENV A=b C", "'C' is not of the form NAME=VALUE"),
        ("ENV =b", "a variable needs a name"),
        ("ENV A='b", "a single quote has no end"),
        ('ENV A="b', "a double quote has no end"),
        ("ENV A=${B", "operator"),
        ("ENV A=${B:-c", "'}' is missing"),
        ("ENV A=${", "without a name"),
        ("ENV A=${B:?gone}", "gone"),
        ("ENV A=" + "${A:-" * 5000, "nested too deep"),
        ("LABEL =b", "a label needs a name"),
        ("EXPOSE x", "is not a port"),
        ("EXPOSE 70000", "is not a port"),
        ("EXPOSE 9-8", "is not a port or range"),
        ("EXPOSE 80/icmp", "is not a port"),
        ("ONBUILD FROM x", "FROM is not allowed"),
        ("ONBUILD ONBUILD RUN x", "ONBUILD is not allowed"),
        ("STOPSIGNAL SIGNOTHING", "is not a signal"),
        ("STOPSIGNAL 0", "is not a signal"),
        ('VOLUME [""]', "needs a path"),
        ("VOLUME []", "needs a path"),
        ("HEALTHCHECK curl", "unknown type 'curl'"),
        ("HEALTHCHECK CMD", "a command is missing"),
        ("HEALTHCHECK NONE x", "takes no arguments"),
        ("HEALTHCHECK --interval=x CMD y", "is not a duration"),
        ("HEALTHCHECK --interval=1us CMD y", "less than 1ms"),
        ("HEALTHCHECK --retries=0 CMD y", "1 or more"),
        ("HEALTHCHECK --other=1 CMD y", "no flag --other"),
        ("ENV A=\udcff", "is not UTF-8"),
        ('CMD ["\\ud800"]', "a lone surrogate"),
    ],
)
def test_invalid_changes_are_refused(change: str, says: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        apply_changes({}, [change])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_the_settings_of_a_parent() -> None:
    parent: dict[str, Any] = {
        "Env": ["PATH=/bin", "A=1"],
        "Cmd": ["old"],
        "Entrypoint": None,
        "Labels": {"z": "1", "a": "2"},
        "ExposedPorts": {"1/tcp": {}},
        "OnBuild": ["RUN a"],
        "WorkingDir": "/srv",
        "Other": {"kept": True},
    }
    assert apply_changes(parent, ["ENV A=$PATH", "EXPOSE 2", "LABEL b=3", "WORKDIR x"]) == {
        "Env": ["PATH=/bin", "A=/bin"],
        "Cmd": ["old"],
        "Labels": {"a": "2", "b": "3", "z": "1"},
        "ExposedPorts": {"1/tcp": {}, "2/tcp": {}},
        "OnBuild": ["RUN a"],
        "WorkingDir": "/srv/x",
        "Other": {"kept": True},
    }
    assert "Cmd" not in apply_changes(parent, ["ENTRYPOINT x"])
    assert apply_changes(parent, ["CMD new", "ENTRYPOINT x"])["Cmd"] == ["/bin/sh", "-c", "new"]
    assert parent["Cmd"] == ["old"]
