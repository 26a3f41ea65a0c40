"""`python -m pointsman`."""

from pointsman.surfaces.cli.main import main

if __name__ == "__main__":
    main()
