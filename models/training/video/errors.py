"""What can be wrong with a video."""


class VideoError(Exception):
    """The video will not do; the text says which file, which second, what was expected and what to do."""
