"""Completion scripts for shells, written from the registry: they ask no server and start no Python."""

from collections.abc import Iterator

from cygni.commands.registry import Command, Flag, Registry

SHELLS = ("bash", "zsh", "fish")

_BASH = r"""# Completion of cygni for {shell}; written by `cygni completion {shell}`.
_cygni() {{
  local line=${{COMP_LINE:0:COMP_POINT}} words candidates command=""
  local current=${{line##* }}
  for word in ${{line% *}}; do
    case $word in cygni|*/cygni|-*) ;; *) command=$word; break ;; esac
  done
  case $command in
{cases}
    *) candidates="{commands}" ;;
  esac
  COMPREPLY=($(compgen -W "$candidates" -- "$current"))
  # bash takes a colon for the end of a word: what stands before it is there already.
  if [ -z "${{ZSH_VERSION:-}}" ] && [ "${{current%:*}}" != "$current" ]; then
    COMPREPLY=("${{COMPREPLY[@]#"${{current%:*}}:"}}")
  fi
}}
complete -F _cygni cygni
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def script(registry: Registry, shell: str) -> str:
    """The script for one of `SHELLS`."""
    if shell == "fish":
        return "\n".join(_fish(registry)) + "\n"
    names = " ".join(sorted(registry.aliases))
    cases = "\n".join(f'    {"|".join(_names(c))}) candidates="{" ".join(_options(c))}" ;;' for c in registry)
    text = _BASH.format(shell=shell, cases=cases, commands=names)
    return (_ZSH if shell == "zsh" else "") + text


def _fish(registry: Registry) -> Iterator[str]:
    yield "# Completion of cygni for fish; written by `cygni completion fish`."
    yield "complete -c cygni -f"
    for command in registry:
        summary = command.summary.replace("\\", "\\\\").replace("'", "\\'")
        yield f"complete -c cygni -n __fish_use_subcommand -a '{command.name}' -d '{summary}'"
        for option in _options(command):
            kind, name = ("-l", option[2:]) if option.startswith("--") else ("-s", option[1:])
            seen = " ".join(_names(command))
            yield f"complete -c cygni -n '__fish_seen_subcommand_from {seen}' {kind} {name}"


def _names(command: Command) -> tuple[str, ...]:
    return command.name, *command.aliases


def _options(command: Command) -> list[str]:
    options = ["-a", "--app"] if command.takes_app else []
    for flag in command.flags:
        assert isinstance(flag.declaration, Flag)
        options += [flag.declaration.short] if flag.declaration.short else []
        options.append(flag.option)
    return [*options, "--help"]
