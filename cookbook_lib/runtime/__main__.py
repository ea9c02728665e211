"""`python -m cookbook_lib.runtime` is `cookbook`."""

from cookbook_lib.runtime.cli import main

main()
