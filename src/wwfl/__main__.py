"""`python -m wwfl`."""

from wwfl.cli import app

if __name__ == "__main__":
    app()
