"""Templates print what Go's ``text/template`` prints. tests/peers compares with skopeo."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.cli.gotemplate import Struct, TemplateError, Time, fill, parse

LABELS = {"z": "<1>", "a": "2", "org.opencontainers.image.title": "t"}
FIELDS = {
    "Name": "r/app",
    "Digest": "sha256:1",
    "Created": Time("2024-01-02T03:04:05.12Z"),
    "Labels": LABELS,
    "Layers": ["l1", "l2"],
    "Env": [],
    "None": None,
    "Size": 12,
    "Flag": True,
    "Inner": Struct({"Os": "linux", "List": ["x"]}, {"os": "linux"}),
}
VALUE = Struct(FIELDS, {"name": "r/app"})


def render(template: str, value: object) -> str:
    return fill(parse(template), value)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain { text }", "plain { text }"),
        ("{{.Digest}}", "sha256:1"),
        ("{{ .Name }}@{{ .Digest }}", "r/app@sha256:1"),
        ("{{.Labels.a}}", "2"),
        ("{{.Labels.nope}}", "<no value>"),
        ('{{index .Labels "org.opencontainers.image.title"}}', "t"),
        ('{{index .Labels "nope"}}|', "|"),
        ("{{index .Layers 1}}", "l2"),
        ("{{.Layers}} {{.Env}} {{.Inner}}", "[l1 l2] [] {linux [x]}"),
        (
            "{{.Labels}}",
            "map[a:2 org.opencontainers.image.title:t z:<1>]",
        ),
        ("{{.None}} {{.Flag}} {{.Size}}", "<nil> true 12"),
        ("{{.Created}}", "2024-01-02 03:04:05.12 +0000 UTC"),
        ("{{.Inner.Os}} {{.Inner.List}}", "linux [x]"),
        ("{{(index .Layers 0)}}", "l1"),
        ("{{(.Inner).Os}}", "linux"),
        ("{{range .Layers}}{{.}} {{end}}", "l1 l2 "),
        ("{{range $i, $l := .Layers}}{{$i}}={{$l}};{{end}}", "0=l1;1=l2;"),
        ("{{range $l := .Layers}}{{$l}}{{$.Name}}{{end}}", "l1r/appl2r/app"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}",
         "a=2 org.opencontainers.image.title=t z=<1> "),
        ("{{range .Env}}x{{else}}none{{end}}", "none"),
        ("{{range .None}}x{{end}}", ""),
        ("{{if .Env}}yes{{else}}no{{end}}", "no"),
        ("{{if .Env}}1{{else if .Flag}}2{{else}}3{{end}}", "2"),
        ("{{if not .Env}}{{if and .Flag .Size}}both{{end}}{{end}}", "both"),
        ("{{or .Env .Name}}", "r/app"),
        ("{{with .Inner}}{{.Os}}{{end}}", "linux"),
        ("{{with .None}}x{{else}}y{{end}}", "y"),
        ("{{with $x := .Inner.Os}}{{$x}}{{.}}{{end}}", "linuxlinux"),
        ("{{$x := .Name}}{{$x}}", "r/app"),
        ("{{json .Labels}}", '{"a":"2","org.opencontainers.image.title":"t","z":"<1>"}'),
        ("{{json .}}", '{"name":"r/app"}'),
        ("{{json .None}} {{json .Inner}}", 'null {"os":"linux"}'),
        ("{{.Layers | json}}", '["l1","l2"]'),
        ('{{json "a\\\\u003cb<"}}', '"a\\\\u003cb<"'),
        ('{{join .Layers ", "}}', "l1, l2"),
        ("{{len .Layers}} {{len .Name}} {{len .Labels}}", "2 5 3"),
        ("{{println .Name .Size}}", "r/app 12\n"),
        ("{{print .Size 1 .Name}}", "12 1r/app"),
        ('{{printf "%s-%d %q %5d|%-3s|%% %v" .Name .Size .Name 7 "a" .Flag}}',
         'r/app-12 "r/app"     7|a  |% true'),
        ('{{.Name | printf "%s!"}}', "r/app!"),
        ('{{eq .Inner.Os "linux"}} {{ne .Size 12}}', "true false"),
        ('{{eq .Inner.Os "windows" "linux"}}', "true"),
        ('{{upper .Name}} {{"AB" | lower}}', "R/APP ab"),
        ('{{index (split .Name "/") 1}}', "app"),
        ("a {{- .Name -}} b", "ar/appb"),
        ("a {{- /* gone */ -}} b{{/* and this */}}.", "ab."),
        ("{{ `raw\\n` }}", "raw\\n"),
        ('{{"a\\tb\\"c"}}', 'a\tb"c'),
        ("{{-3}}", "-3"),
        ("{{true}} {{nil}}", "true <nil>"),
        ("{{if .Labels.nope}}yes{{else}}no{{end}}", "no"),
        ("{{with .Labels.nope}}x{{else}}none{{end}}", "none"),
        ("{{range .Labels.nope}}x{{else}}none{{end}}", "none"),
        ('{{or .Labels.nope "other"}} {{not .Labels.nope}}', "other true"),
        ("{{and .Labels.nope 1}} {{print .Labels.nope}}", "<no value> <nil>"),
        ("{{$x := .Labels.nope}}{{$x}} {{.Labels.nope.more}}", "<no value> <no value>"),
        ("{{if and .Env (index .Env 0)}}x{{else}}none{{end}}", "none"),
        ("{{if or .Flag (index .Env 0)}}x{{end}}", "x"),
        ("{{.Flag | and .Size}} {{.Flag | or .Env}}", "true true"),
        ('{{$x := ""}}{{range .Layers}}{{$x = .}}{{end}}{{$x}}', "l2"),
        ('{{$x := "a"}}{{if .Flag}}{{$x := "b"}}{{$x}}{{end}}{{$x}}', "ba"),
        ('{{$x := "a"}}{{with $x = .Name}}{{end}}{{$x}}', "r/app"),
        ('{{$i := 0}}{{$l := ""}}{{range $i, $l = .Layers}}{{end}}{{$i}}{{$l}}', "1l2"),
        ("{{if gone}}", None),
    ],
)  # fmt: skip
def test_a_template_prints_what_go_does(template: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(TemplateError):
            render(template, VALUE)
    else:
        assert render(template, VALUE) == expected


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2024-01-02T03:04:05Z", "2024-01-02 03:04:05 +0000 UTC"),
        ("2024-01-02T03:04:05+02:00", "2024-01-02 03:04:05 +0200 +0200"),
        ("0001-01-01T00:00:00Z", "0001-01-01 00:00:00 +0000 UTC"),
    ],
)
def test_times_are_printed_as_in_go(time: str, expected: str) -> None:
    assert render("{{.}}", Time(time)) == expected


@pytest.mark.parametrize(
    ("template", "at", "message"),
    [
        ("ab{{.Name", 2, "}} is missing"),
        ("{{}}", 0, "empty"),
        ("{{.Nope}}", 2, "no field Nope; the fields are Name"),
        ("{{.digest}}", 2, "no field digest"),
        ("{{.Name.x}}", 2, "has no field x"),
        ("{{$x = .Name}}", 2, "$x is not defined"),
        ("{{and}}", 2, "wrong number"),
        ("{{nope .Name}}", 2, "no function 'nope'; the functions are and, eq"),
        ("x{{end}}", 3, "end without if, with or range"),
        ("{{range .Layers}}", 2, "range has no end"),
        ("{{if .Env}}{{else}}{{else}}{{end}}", 2, "if has no end"),
        ("{{index .Layers 7}}", 2, "out of range: 7"),
        ("{{index .Size 7}}", 2, "can't be indexed"),
        ("{{join .Name}}", 2, "wrong number of arguments"),
        ("{{join .Name 3}}", 2, "expected a list"),
        ("{{len .Size}}", 2, "has no length"),
        ("{{.Name .Size}}", 2, "only functions"),
        ("{{$x}}", 2, "$x is not defined"),
        ("{{range $x := .Layers}}{{end}}{{$x}}", 32, "$x is not defined"),
        ("{{(len .Name}}", 7, "missing at the end"),
        ("{{len .Name)}}", 11, "')' is not expected"),
        ("{{.Name | }}", 8, "missing at the end"),
        ("{{ ~ }}", 3, "'~' is not expected"),
        ('{{"\\x"}}', 3, "unknown escape"),
        ("{{range .Name}}{{end}}", None, "can't go over"),
        ('{{printf "%d" .Name}}', 2, "cannot format"),
        ('{{printf "%d"}}', 2, "no value for %d"),
        ("{{" + "(" * 99 + "1" + ")" * 99 + "}}", 52, "nested deeper"),
        ("{{if 1}}" * 99, 402, "nested deeper"),
    ],
)
def test_an_error_has_its_position(template: str, at: int | None, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template, VALUE)
    assert message in str(caught.value)
    assert caught.value.at == at


@given(st.text(alphabet='{}()|.$ -"`\\aNjs:=,1/*end range if', max_size=40))
def test_any_text_is_a_template_or_an_error(text: str) -> None:
    try:
        render(text, VALUE)
    except TemplateError as error:
        assert error.at is None or 0 <= error.at <= len(text)  # noqa: PT017 - both outcomes are good
