"""Go templates for ``--format``: the part of ``text/template`` that people use."""
