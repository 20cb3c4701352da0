"""Watching a running pipeline from a terminal: what each stage and each session costs."""
