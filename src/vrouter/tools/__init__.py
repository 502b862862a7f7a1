# SPDX-License-Identifier: Apache-2.0
"""The command line tools: thin readers and writers of dp-core's tables.

One module per command (`vif`, `nh`, `rt`, `mpls`, `vxlan`, `dropstats`, `vrfstats`, `vrinfo`,
`vrouter`) parses arguments and calls `vrouter.dpcore`; the `render_*` modules turn records into
upstream's text or JSON and know nothing of the kernel; `common` holds what all commands share.
"""
