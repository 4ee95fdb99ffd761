"""Users of the app, and their roles."""
