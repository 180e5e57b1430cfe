"""`python -m kvgossip` is `kvgossip`."""

from kvgossip.cli import main

if __name__ == "__main__":
    main()
