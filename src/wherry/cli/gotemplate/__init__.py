"""Go templates for ``--format``: the part of ``text/template`` that people use."""

from wherry.cli.gotemplate.evaluate import fill
from wherry.cli.gotemplate.functions import Struct, TemplateError, Time
from wherry.cli.gotemplate.syntax import parse

__all__ = ["Struct", "TemplateError", "Time", "fill", "parse"]
