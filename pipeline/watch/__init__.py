"""Watching a session outside the browser: into a movie, a virtual camera, or another program."""
