"""Listens to a running pipeline: `python examples/listen.py /dev/shm/lipwire-*`."""

import sys
from pathlib import Path

import zmq

from pipeline.channels import PROBES_SOCKET, NoticeInlet
from pipeline.instance import Instance
from pipeline.messages import Probe

inlet = NoticeInlet(zmq.Context(), Instance(Path(sys.argv[1])), PROBES_SOCKET)
while inlet.sub.poll():
    for probe in inlet.take():
        if isinstance(probe, Probe):
            print(probe.process, probe.session[:8], probe.sequence, f"{probe.service_ns / 1e6:.2f} ms", flush=True)
