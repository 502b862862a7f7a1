# SPDX-License-Identifier: Apache-2.0
"""Which branches of dp-core no test reaches: `make coverage`."""
