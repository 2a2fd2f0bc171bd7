"""`rrctl completion`: the script that a shell needs to complete rrctl's commands."""

import click
from click.shell_completion import get_completion_class

VARIABLE = "_RRCTL_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Examples:
      rrctl completion bash > /etc/bash_completion.d/rrctl
      rrctl completion zsh > "${fpath[1]}/_rrctl"
      rrctl completion fish > ~/.config/fish/completions/rrctl.fish
    """
    made = get_completion_class(shell)
    if made is None:
        raise click.ClickException(f"click knows no completion for {shell}")
    script = made(ctx.find_root().command, {}, "rrctl", VARIABLE)
    click.echo(script.source_template % script.source_vars())
