"""Shell completion: the names of the store's images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

_STORE = "store:"
# Bash splits words at colons, which names of images have in them: they are joined again, and
# of an answer bash wants what follows the last colon.
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
    """Have click complete words with colons in bash."""
    from click.shell_completion import BashComplete, add_completion_class

    class ColonBash(BashComplete):
        source_template = _BASH

    add_completion_class(ColonBash)


def image_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - as click wants it
    """Offer names of images; none where the store cannot be read."""
    try:
        return list(_matching(ctx, incomplete))
    except Exception:  # noqa: BLE001 - an error would be written into the line that is edited
        return []


def addresses(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer names of images behind ``store:``, for arguments whose bare names mean registries."""
    if not incomplete.startswith(_STORE):
        return [_STORE] if incomplete and _STORE.startswith(incomplete) else []
    return image_names(ctx, param, incomplete)


def _matching(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """Yield names in the form that was begun: familiar or in full, with ``store:`` or without.

    Names by digest are many and long: they are offered once there is an ``@``.
    """
    from wherry.image import Store

    prefix = _STORE if incomplete.startswith(_STORE) else ""
    begun = incomplete.removeprefix(prefix)
    store = Store(ctx.find_root().params.get("store"))
    for name in dict.fromkeys(line[0] for line in store.lines()):
        if not name or ("@" in name and "@" not in begun):
            continue
        familiar = Reference.parse(name).familiar
        found = familiar if familiar.startswith(begun) else name
        if found.startswith(begun):
            yield prefix + found
    store.close()
