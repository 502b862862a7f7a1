# SPDX-License-Identifier: Apache-2.0
"""What is wanted: the records that files and APIs give, and where they are kept."""
