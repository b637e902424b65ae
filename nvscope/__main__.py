"""`python3 -m nvscope`: the same command as `nvscope`."""

from nvscope.cli import main

main(prog_name="nvscope")
