"""Go templates for ``--format``: a subset of Go's ``text/template``.

Supported are text, fields and keys (``{{.Labels.x}}``), pipelines, variables, ``if``, ``with``
and ``range``, trim markers, comments, and the functions in
`wherry.cli.gotemplate.functions`. Values are those of JSON, and `Struct` and `Time` for values
that Go prints in its own way.
"""

from wherry.cli.gotemplate.evaluate import fill
from wherry.cli.gotemplate.functions import Struct, TemplateError, Time
from wherry.cli.gotemplate.syntax import parse

__all__ = ["Struct", "TemplateError", "Time", "fill", "parse"]
