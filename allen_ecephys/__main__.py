"""``python -m allen_ecephys``: the command line where no scripts are on the path, as on a cluster's nodes."""

from allen_ecephys.cli import main

if __name__ == "__main__":
    main(prog_name="allen-ecephys")
