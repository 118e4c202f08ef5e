#!/usr/bin/python3
"""Mininet's hosts beside each other on one node: how long they take to come up and to go.

Debian's package `mininet`; as root. No switch and no controller: what is measured is what a lab's VMs are compared with,
a namespace with a link to a router.
"""

import sys
import time

from mininet.net import Mininet

count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
started = time.time()
net = Mininet(topo=None, controller=None, build=False, switch=None)
router = net.addHost("r0", ip=None)
for number in range(count):
    host = net.addHost(f"h{number}", ip=f"10.0.{number // 250}.{number % 250 + 2}/32")
    net.addLink(host, router)
net.build()
up = time.time() - started
started = time.time()
net.stop()
down = time.time() - started
print(f"{count} hosts: up {up:.2f} s, {up / count * 1e3:.1f} ms each; down {down:.2f} s")
