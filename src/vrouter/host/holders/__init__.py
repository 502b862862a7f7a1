# SPDX-License-Identifier: Apache-2.0
"""Who holds a NIC: what would break, or break in later, when vhost0 takes its place.

`find` looks everywhere and changes nothing. A file for each place: firewall, services (config
files and sockets), programs (tc, XDP), stacked (devices on top), managers (who set the address).
"""

from vrouter.host.holders.find import Holders, find
from vrouter.host.holders.finding import Finding

__all__ = ["Finding", "Holders", "find"]
