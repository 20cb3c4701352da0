"""What clients and the edge say to each other: bytes in, typed requests out. No I/O in here.

`jsonform` is the original's JSON, `binary` the packed framing, `live` what a client negotiates on top.
"""
