"""`python -m seriatim`: the command line as a module, as torchrun wants it."""

from seriatim.cli import run_and_exit

if __name__ == "__main__":
    run_and_exit()
