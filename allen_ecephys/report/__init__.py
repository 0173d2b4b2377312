"""One HTML page that shows what a session holds."""
