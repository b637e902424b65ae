"""`nvscope completion`: what a shell needs to complete nvscope's command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")

_EXAMPLES = """\b
Examples:
  nvscope completion bash > /usr/share/bash-completion/completions/nvscope
  nvscope completion zsh > /usr/local/share/zsh/site-functions/_nvscope
  nvscope completion fish > ~/.config/fish/completions/nvscope.fish
"""


@click.command(epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete nvscope's command line.

    For this session alone: `source <(nvscope completion bash)`, the same with zsh after compinit,
    or `nvscope completion fish | source`.
    """
    of_shell = get_completion_class(shell)
    assert of_shell is not None
    root = context.find_root()
    made = of_shell(root.command, {}, "nvscope", "_NVSCOPE_COMPLETE")
    click.echo(made.source(), nl=False)
