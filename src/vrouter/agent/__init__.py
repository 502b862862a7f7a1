# SPDX-License-Identifier: Apache-2.0
"""vrouter-agent: the daemon that decides. State in, operations out; one place applies them."""
