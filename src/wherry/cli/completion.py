"""Shell completion with the names of the images in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.reference import familiar

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

_STORE = "store:"
# Bash splits words at colons, which image names contain. This function joins the parts before
# it asks for completions, and offers bash only the part of each answer after the last colon.
_BASH = r"""
%(complete_func)s() {
    local line=$COMP_LINE words=() rest word current place answers kind value
    local IFS=$'\n'
    for ((place = 0; place <= COMP_CWORD; place++)); do
        word=${COMP_WORDS[place]}
        rest=${line#"${line%%%%[![:space:]]*}"}
        if ((place)) && [[ $rest == "$line" && ($word == :* || $current == *:) ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        current=${words[${#words[@]} - 1]}
        line=${rest#"$word"}
    done
    answers=$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        plain)
            [[ $COMP_WORDBREAKS == *:* ]] && value=${value#"${current%%"${current##*:}"}"}
            COMPREPLY+=("$value")
            ;;
        esac
    done <<<"$answers"
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


def register() -> None:
    """Register a completion for bash that supports words with colons."""
    from click.shell_completion import BashComplete, add_completion_class

    class ColonBash(BashComplete):
        source_template = _BASH

    add_completion_class(ColonBash)


def image_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's signature
    """Complete image names; offer none if the store cannot be read."""
    try:
        return list(_matching(ctx, incomplete))
    except Exception:  # noqa: BLE001 - an error would appear in the line that the user edits
        return []


def addresses(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete ``store:NAME``, for arguments whose bare names mean registries."""
    if not incomplete.startswith(_STORE):
        return [_STORE] if incomplete and _STORE.startswith(incomplete) else []
    return image_names(ctx, param, incomplete)


def _matching(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """Yield names in the form that the user has begun.

    That form is short or full, with or without ``store:``.

    Names with a digest are many and long, so they are offered only after an ``@``.
    """
    from wherry.image_store import Store, local_store
    from wherry.ops.listing import Filters, list_lines

    prefix = _STORE if incomplete.startswith(_STORE) else ""
    begun = incomplete.removeprefix(prefix)
    store = local_store(Store(ctx.find_root().params.get("store")))
    for name in dict.fromkeys(line[0] for line in list_lines(store, Filters())):
        if not name or ("@" in name and "@" not in begun):
            continue
        short = familiar(name)
        found = short if short.startswith(begun) else name
        if found.startswith(begun):
            yield prefix + found
    store.close()
