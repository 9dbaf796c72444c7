"""`python cli.py` is `eiauto`."""

from ei_automation.cli.main import main

if __name__ == "__main__":
    main()
