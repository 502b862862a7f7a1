# SPDX-License-Identifier: Apache-2.0
"""The os-vif plugin: what nova calls to plug a VM's port. Needs the extra `nova`."""
